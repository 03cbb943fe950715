"""Saying in the file that a machine edited it, and noticing what an incoming file says about itself.

The mark is the IPTC's digital source type for media that mix a recording with what a trained model made, as
an XMP packet in a ``uuid`` box (the place that ISO base media files have for XMP), beside a plain sentence in
the usual comment tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .mp4_boxes import append_uuid, file_boxes

XMP_BOX = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
C2PA_BOX = bytes.fromhex("D8FEC3D61B0E483C92975828877EC481")
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_EDITED = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
SENTENCE = "AI-edited: the mouth movements in this video were synthesised with PersonaTalk."
XMP_KEY = "xmp"  # metadata key whose value the writer stores as the XMP packet
MAX_MARK = 16 << 20  # bytes of one provenance box that are read at most

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmp:CreatorTool="PersonaTalk"
    Iptc4xmpExt:DigitalSourceType="{source_type}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{sentence}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True)
class ProvenanceMarks:
    """What a file says about its making. xmp: the packet or empty.  source_type: the last part of the IPTC
    address or empty.  comment: the AI-edited sentence is in its tags.  c2pa: it carries signed content
    credentials."""

    xmp: str = ""
    source_type: str = ""
    c2pa: bool = False

    @property
    def ai_edited(self) -> bool:
        """The file says that a trained model made it or part of it."""
        return self.source_type in ("compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia")

    def remarks(self) -> tuple[str, ...]:
        """Sentences for the report."""
        found = []
        if self.c2pa:
            found.append(
                "The video carries content credentials (C2PA); they do not cover the dubbed version and "
                "are not copied."
            )
        if self.ai_edited:
            found.append(f"The video says that AI made or edited it already ({self.source_type}).")
        return tuple(found)


def provenance_metadata() -> dict[str, str]:
    """Tags for VideoWriter that mark its file as AI-edited."""
    return {
        "comment": SENTENCE,
        "description": SENTENCE,
        XMP_KEY: _PACKET.format(source_type=AI_EDITED, sentence=SENTENCE),
    }


def write_xmp(path: Path, packet: str) -> None:
    """Append an XMP packet to a finished MP4 or QuickTime file."""
    append_uuid(path, XMP_BOX, packet.encode())


def read_marks(path: Path) -> ProvenanceMarks:
    """Read the marks of any file; one that is not built of MP4 boxes is searched at its two ends."""
    xmp, c2pa = b"", False
    with Path(path).open("rb") as stream:
        found = file_boxes(stream)
        for box in found:
            if box.kind != b"uuid" or box.end - box.body < 16:
                continue
            stream.seek(box.body)
            identity = stream.read(16)
            content = stream.read(min(box.end - box.body - 16, MAX_MARK))
            xmp = content if identity == XMP_BOX else xmp
            c2pa = c2pa or identity == C2PA_BOX
        if not found:
            length = stream.seek(0, 2)
            for start in {0, max(0, length - (1 << 20))}:
                stream.seek(start)
                piece = stream.read(1 << 20)
                packet = re.search(rb"<x:xmpmeta.*?</x:xmpmeta>", piece, re.DOTALL)
                xmp = packet.group() if packet else xmp
                c2pa = c2pa or (b"jumb" in piece and b"c2pa" in piece)
    text = xmp.decode(errors="replace")
    source_type = re.search(
        r"DigitalSourceType\W+(?:rdf:resource=\W*)?" + re.escape(SOURCE_TYPES) + r"(\w+)", text
    )
    return ProvenanceMarks(text, source_type.group(1) if source_type else "", c2pa)
