"""Reads a mailbox over IMAP. Reads where it is as JSON, writes its messages as a JSON list."""
import imaplib
import json
import sys

q = json.load(sys.stdin)
with imaplib.IMAP4(q["host"], q["port"]) as m:
    m.login(q["user"], q["password"])
    m.select("INBOX", readonly=True)
    _, found = m.search(None, "ALL")
    messages = []
    for n in found[0].split():
        _, parts = m.fetch(n, "(RFC822)")
        messages.append(parts[0][1].decode("latin-1"))
json.dump(messages, sys.stdout)
