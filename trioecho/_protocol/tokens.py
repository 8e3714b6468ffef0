"""The words of HTTP: methods, the names of headers, subprotocols."""

import re

# RFC 9110 §5.6.2: token = 1*tchar
TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = re.compile(f"{TCHAR}+")
