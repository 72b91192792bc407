"""Signs the message on standard input as signed.example with a new key; writes signature and DNS record as JSON."""
import base64
import json
import subprocess
import sys

import dkim

message = sys.stdin.buffer.read()
key = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], check=True, capture_output=True).stdout
public = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=key, check=True, capture_output=True).stdout
signature = dkim.sign(message, b"s", b"signed.example", key, canonicalize=(b"relaxed", b"simple"))
json.dump({"signature": signature.decode(), "record": "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()}, sys.stdout)
