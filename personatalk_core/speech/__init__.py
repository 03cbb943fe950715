"""Speech -> lower-face expression in a person's style (paper 3.1).

network        the network, to read next to the paper; networks: with its audio encoder, loaded and saved
audio_encoder  E_aud over moonshine (bundled) or hubert (the paper's); local_attention: eq. 3 within a reach
style          S of a person, dialled and mixed; style_file: on disk
lip_sync       inference over speech of any length; calibration: of its frames; timeline: 25 fps to any rate

Exports nothing; import the files.
"""
