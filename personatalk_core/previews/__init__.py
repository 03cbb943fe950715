"""What a person looks at before and after a dub; nothing here takes part in making one.

mesh_overlay     the fitted mesh, or its coordinate map, drawn over the video: does the geometry fit?
geometry_viewer  the moving face as one file for the viewer on the page: what will the mouth do?
reference_crops  face crops of chosen frames: which ones give the mouth its pixels? The thumbnail of a style
card. style_map        speaking styles on a plane: who speaks like whom?

Exports nothing; import the files.
"""
