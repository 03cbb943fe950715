"""A saved workflow as the prompt that the page would queue for it."""

from __future__ import annotations


def prompt_of(workflow: dict) -> dict:
    """{node id: {"class_type", "inputs"}} with links as [node id, output slot], as POST /prompt takes it."""
    links = {link[0]: link for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["mode"] != 0 or node["type"] == "MarkdownNote":
            continue
        values, inputs = iter(node["widgets_values"]), {}
        for entry in node["inputs"]:
            value = next(values) if "widget" in entry else None
            if entry["link"] is not None:
                link = links[entry["link"]]
                inputs[entry["name"]] = [str(link[1]), link[2]]
            elif "widget" in entry:
                inputs[entry["name"]] = value
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
