#!/usr/bin/env python3
"""What tests/bench/probe-size has its probe measure.

probe-load.py serve V4 V6            is a network's neighbours on loopback until it is ended: DNS for target.example (which leads to V4
                                     and V6), NTP and HTTP
probe-load.py order API KEY V4 V6    asks for fifty measurements of all kinds, each every ten seconds; prints their numbers
probe-load.py count API KEY ID ...   prints how many results of which kind there are
probe-load.py field NAME             prints a field of the JSON object on stdin
"""
import ipaddress
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "target.example"
# Seconds between 1900, from where NTP counts, and 1970.
NTP_EPOCH = 2208988800


def dns_answer(query, addresses):
    """The answer to a query for A or AAAA: its question, and one record if the name is ours."""
    if len(query) < 17:
        return b""
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1:end + 1 + query[end]].decode("latin-1").lower())
        end += 1 + query[end]
    question = query[12:end + 5]
    (kind,) = struct.unpack("!H", query[end + 1:end + 3])
    address = addresses.get(kind) if ".".join(labels) == NAME else None
    record = b"" if address is None else struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(address)) + address
    flags = 0x8580 if ".".join(labels) == NAME else 0x8583
    return query[:2] + struct.pack("!HHHHH", flags, 1, int(bool(record)), 0, 0) + question + record


def ntp_answer(query):
    now = time.time() + NTP_EPOCH
    stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
    return bytes([0x24, 2, 6, 0xEC]) + bytes(8) + b"BENC" + stamp + query[40:48] + stamp + stamp


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4096")
        self.end_headers()
        self.wfile.write(b"x" * 4096)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


def serve(v4, v6):
    addresses = {1: ipaddress.IPv4Address(v4).packed, 28: ipaddress.IPv6Address(v6).packed}

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            data, sock = self.request
            answer = dns_answer(data, addresses) if self.server.server_address[1] == 53 else ntp_answer(data)
            sock.sendto(answer, self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            while len(size := self.rfile.read(2)) == 2:
                answer = dns_answer(self.rfile.read(struct.unpack("!H", size)[0]), addresses)
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    def start(base, address, port, handler):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        # Both families each have a socket of their own.
        kind = type("Server", (base,), {"address_family": family, "allow_reuse_address": True, "daemon_threads": True})
        threading.Thread(target=kind((address, port), handler).serve_forever).start()

    for address in ("127.0.0.1", "::1"):
        start(socketserver.ThreadingUDPServer, address, 53, Datagram)
        start(socketserver.ThreadingUDPServer, address, 123, Datagram)
        start(socketserver.ThreadingTCPServer, address, 53, Stream)
        start(ThreadingHTTPServer, address, 80, Web)


def ask(api, key, path, body=None):
    headers = {"Authorization": f"Key {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        return json.load(urllib.request.urlopen(urllib.request.Request(f"http://{api}/api/v2/{path}", data, headers)))
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {path}: {error.read().decode()}")


def kinds(v4, v6, number):
    """One of each. Runs towards one address wait for each other, so packets go to addresses of the probe's own loopback, a different one
    each, where there are enough; exchanges go to the neighbours."""
    name = {"target": NAME, "resolve_on_probe": True}
    dns = {"query_class": "IN", "query_type": "AAAA", "query_argument": NAME}
    return [
        {"type": "ping", "af": 4, "target": f"127.0.1.{number}"},
        {"type": "ping", "af": 6, "target": v6},
        {"type": "ping", "af": 6} | name,
        {"type": "traceroute", "af": 4, "target": f"127.0.2.{number}", "protocol": "UDP"},
        {"type": "traceroute", "af": 6, "target": v6, "protocol": "ICMP"},
        {"type": "dns", "af": 4, "target": v4} | dns,
        {"type": "dns", "af": 6, "target": v6, "protocol": "TCP"} | dns,
        {"type": "dns", "af": 4, "use_probe_resolver": True} | dns,
        {"type": "ntp", "af": 4, "target": v4},
        {"type": "sslcert", "af": 4, "target": v4, "port": 18443},
        {"type": "http", "af": 4} | name,
        {"type": "pathmtu", "af": 4, "target": f"127.0.3.{number}"},
    ]


def order(api, key, v4, v6):
    definitions = [one for number in range(1, 5) for one in kinds(v4, v6, number)] + kinds(v4, v6, 5)[3:5]
    made = []
    for definition in definitions:
        body = {
            "definitions": [definition | {"description": "load", "interval": 10, "spread": 10}],
            "probes": [{"type": "probes", "value": "1", "requested": 1}],
        }
        made += ask(api, key, "measurements/", body)["measurements"]
    print(*made)


def count(api, key, *ids):
    counts, silent = {}, 0
    for one in ids:
        results = ask(api, key, f"measurements/{one}/results/")
        silent += not results
        for result in results:
            kind = result["type"]
            counts[kind] = counts.get(kind, 0) + 1
    print("results:", ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())), f"; {silent} measurements without")


commands = {"serve": serve, "order": order, "count": count, "field": lambda name: print(json.load(sys.stdin)[name])}
commands[sys.argv[1]](*sys.argv[2:])
