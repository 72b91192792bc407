"""Sends mail with smtplib. Reads what to do as JSON, writes what came of it as JSON."""
import json
import smtplib
import ssl
import sys

q = json.load(sys.stdin)
context = ssl.create_default_context(cafile=q["ca"]) if q["ca"] else None
result = {"features": {}, "code": 0, "reply": "", "refused": {}}


def text(b):
    return b.decode("utf-8", "replace") if isinstance(b, bytes) else str(b)


def send(s):
    s.ehlo()
    if q["tls"] == "starttls":
        s.starttls(context=context)
        s.ehlo()
    result["features"] = s.esmtp_features
    if q["mechanism"]:
        s.user, s.password = q["user"], q["password"]
        s.auth(q["mechanism"], getattr(s, "auth_" + q["mechanism"].lower()))
    refused = s.sendmail(q["from"], q["to"], q["message"].encode(), q["mailOptions"], q["rcptOptions"])
    result["refused"] = {to: [code, text(reply)] for to, (code, reply) in refused.items()}
    result["code"] = 250


source = (q["source"], 0) if q["source"] else None
try:
    if q["tls"] == "implicit":
        client = smtplib.SMTP_SSL(q["host"], q["port"], local_hostname="client.test", timeout=30, context=context)
    else:
        client = smtplib.SMTP(q["host"], q["port"], local_hostname="client.test", timeout=30, source_address=source)
    with client:
        send(client)
except smtplib.SMTPRecipientsRefused as e:
    result["refused"] = {to: [code, text(reply)] for to, (code, reply) in e.recipients.items()}
except smtplib.SMTPResponseException as e:
    result["code"], result["reply"] = e.smtp_code, text(e.smtp_error)

json.dump(result, sys.stdout)
