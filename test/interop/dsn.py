"""Parses a delivery status notification (RFC 3464) with Python's email package: the message on standard input, its
parts as JSON on standard output. It fails where the package finds a defect."""
import email
import email.policy
import json
import sys

m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
for part in m.walk():
    if part.defects:
        sys.exit("%s: %s" % (part.get_content_type(), part.defects))


def blocks(part):
    """The groups of fields. The package knows those of message/delivery-status; of RFC 6533's form it takes all but the
    first for the text of a message."""
    first = part.get_payload()
    if part.get_content_type() != "message/global-delivery-status":
        return first
    rest = first[0].get_payload().strip().replace("\r\n", "\n").split("\n\n")
    return [first[0]] + [email.message_from_string(text, policy=email.policy.default) for text in rest]


status, returned = None, None
if m.get_content_type() == "multipart/report":
    parts = m.get_payload()
    status = [dict(block.items()) for block in blocks(parts[1])]
    if len(parts) > 2:
        returned = {"type": parts[2].get_content_type(), "text": parts[2].as_string()}
json.dump({
    "type": m.get_content_type(),
    "reportType": m.get_param("report-type"),
    "headers": {name: str(value) for name, value in m.items()},
    "parts": [p.get_content_type() for p in m.get_payload()] if m.is_multipart() else [],
    "text": m.get_payload()[0].get_content() if m.is_multipart() else m.get_content(),
    "message": status[0] if status else {},
    "recipients": status[1:] if status else [],
    "returned": returned or {"type": "", "text": ""},
}, sys.stdout)
