"""ComfyUI entry of the PersonaTalk pack; everything heavy is imported when ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> object:
    """Return the pack's extension; a failure is logged with its traceback, since ComfyUI prints one line
    only."""
    import logging

    try:
        from .nodes import PersonaTalkExtension

        return PersonaTalkExtension()
    except Exception:
        logging.getLogger(__name__).exception("PersonaTalk could not be loaded")
        raise
