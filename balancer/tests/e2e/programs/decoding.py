"""A client of Python's own library: what it gets compressed, and plain, is the same."""

import gzip
import http.client
import sys

host, port = sys.argv[1].split(":")
client = http.client.HTTPConnection(host, int(port), timeout=20)


def get(path, accepts):
    client.request("GET", path, headers={"Accept-Encoding": accepts})
    answer = client.getresponse()
    return answer.headers.get("Content-Encoding"), answer.read()


for length in (1024, 5000, 70000, 1000000):
    for path in (f"/whole?length={length}", f"/parts?length={length}&size=9999"):
        coding, body = get(path, "gzip")
        plain_coding, plain = get(path, "identity")
        assert (coding, plain_coding) == ("gzip", None), (path, coding, plain_coding)
        assert len(plain) == length and gzip.decompress(body) == plain, path
        assert len(body) < length // 2, (path, len(body))
print("equal")
