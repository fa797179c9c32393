#!/usr/bin/env python3
"""Makes src/charts/world.txt of Natural Earth's countries (world-atlas, 1:50m, public domain) by hand, once.

    vendor/world.py countries-50m.json > src/charts/world.txt

One line a territory: ISO 3166 code (or `-`), name, shape, separated by tabs. A shape is an SVG path in relative integers, in a
picture 2000 wide, in the Equal Earth projection (Savric, Patterson, Jenny 2018), or `x y` of a circle for what would vanish, or
nothing. Codes are from Debian's iso-codes, names and places of what Natural Earth does not draw from its tzdata (public domain).
"""

import json
import math
import re
import sys

WIDTH = 2000
# Corners whose triangle is smaller than this are left out: one pixel where the picture is a thousand wide.
LEAST_CORNER = 4.0
# What is smaller altogether would not be seen, and gets a circle.
LEAST_SHAPE = 30.0
LEAST_ISLAND = 6.0
ANTARCTICA = "010"
NAMES = {
    "GB": "United Kingdom", "KR": "South Korea", "KP": "North Korea", "CD": "DR Congo", "CG": "Congo", "MM": "Myanmar",
    "AS": "American Samoa", "WS": "Samoa", "VI": "US Virgin Islands", "VG": "British Virgin Islands", "SZ": "Eswatini",
    "MF": "Saint Martin (French)", "SX": "Sint Maarten (Dutch)", "CV": "Cabo Verde", "TR": "Türkiye", "XK": "Kosovo",
}


def project(lon, lat):
    """Equal Earth, in its own units: x within ±2.7066, y within ±1.3173."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    m = math.sqrt(3) / 2
    l = math.asin(m * math.sin(math.radians(lat)))
    l2 = l * l
    l6 = l2 ** 3
    x = math.radians(lon) * math.cos(l) / (m * (a1 + 3 * a2 * l2 + l6 * (7 * a3 + 9 * a4 * l2)))
    return x, l * (a1 + a2 * l2 + l6 * (a3 + a4 * l2))


SCALE = WIDTH / (2 * project(180, 0)[0])
TOP = project(0, 84)[1]


def place(lon, lat):
    x, y = project(lon, lat)
    return WIDTH / 2 + x * SCALE, (TOP - y) * SCALE


def doubled(a, b, c):
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))


def unwrapped(degrees):
    """Longitudes without the jump of 360 at the antimeridian."""
    out = []
    for lon, lat in degrees:
        while out and lon - out[-1][0] > 180:
            lon -= 360
        while out and lon - out[-1][0] < -180:
            lon += 360
        out.append((lon, lat))
    return out


def clip(ring, side, limit):
    """The part of a ring west (-1) or east (1) of a meridian (Sutherland, Hodgman)."""
    out = []
    for a, b in zip(ring[-1:] + ring[:-1], ring):
        inside_a, inside_b = (a[0] - limit) * side >= 0, (b[0] - limit) * side >= 0
        if inside_a != inside_b:
            part = (limit - a[0]) / (b[0] - a[0])
            out.append((limit, a[1] + part * (b[1] - a[1])))
        if inside_b:
            out.append(b)
    return out


def cut(ring):
    """A ring over the antimeridian as two."""
    ring = unwrapped(ring)
    pieces = [clip(clip(ring, 1, -180), -1, 180)]
    pieces.append([(lon - 360, lat) for lon, lat in clip(ring, 1, 180)])
    pieces.append([(lon + 360, lat) for lon, lat in clip(ring, -1, -180)])
    return [piece for piece in pieces if len(piece) > 2]


def simplify(degrees):
    """Visvalingam: the corner of the smallest triangle goes first. Both ends stay, so that neighbours keep meeting."""
    points = [place(*point) + point for point in unwrapped(degrees)]
    while len(points) > 2:
        sizes = [doubled(points[i - 1], points[i], points[i + 1]) / 2 for i in range(1, len(points) - 1)]
        least = min(sizes)
        if least >= LEAST_CORNER:
            break
        # All below the limit that are not neighbours, from the smallest on: the same as one by one, nearly, and quick.
        gone, last = set(), -1
        for i in sorted(range(len(sizes)), key=sizes.__getitem__):
            if sizes[i] < min(LEAST_CORNER, least * 4 + 0.01) and i - 1 not in gone and i + 1 not in gone:
                gone.add(i)
        points = [p for i, p in enumerate(points) if i - 1 not in gone]
    return [point[2:] for point in points]


def area(ring):
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1])) / 2


def main():
    atlas = json.load(open(sys.argv[1]))
    codes = json.load(open("/usr/share/iso-codes/json/iso_3166-1.json"))["3166-1"]
    alpha = {entry["numeric"]: entry["alpha_2"] for entry in codes}
    names = dict(line.rstrip("\n").split("\t") for line in open("/usr/share/zoneinfo/iso3166.tab") if not line.startswith("#"))
    names.update(NAMES)
    capitals = {}
    for line in open("/usr/share/zoneinfo/zone.tab"):
        if not line.startswith("#"):
            code, where = line.split("\t")[:2]
            capitals.setdefault(code, where)
    (sx, sy), (tx, ty) = atlas["transform"]["scale"], atlas["transform"]["translate"]
    arcs = []
    for arc in atlas["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((x * sx + tx, y * sy + ty))
        arcs.append(simplify(points))

    def drawn(indexes):
        """The rings of these arcs, in the picture's integers."""
        rings = []
        for piece in cut(ring(indexes)):
            points = [tuple(map(round, place(*point))) for point in piece]
            rings.append([p for i, p in enumerate(points) if p != points[i - 1]] or points[:1])
        return rings

    def ring(indexes):
        points = []
        for index in indexes:
            arc = arcs[index] if index >= 0 else arcs[~index][::-1]
            points += arc[1:] if points else arc
        return points[:-1]

    shapes = {}
    for geometry in atlas["objects"]["countries"]["geometries"]:
        if geometry.get("id") == ANTARCTICA:
            continue
        name = geometry["properties"]["name"]
        code = "XK" if name == "Kosovo" else alpha.get(geometry.get("id"), "-")
        polygons = geometry.get("arcs", [])
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        rings = [r for polygon in polygons for indexes in polygon for r in drawn(indexes)]
        key = code if code != "-" else name
        shapes.setdefault(key, (code, names.get(code, name), []))[2].extend(rings)
        names.setdefault(code, name)
    for code, name in names.items():
        if re.fullmatch("[A-Z]{2}", code) and code not in shapes and code != "AQ":
            shapes[code] = (code, name, [])
    # World's order is the picture's: circles on top.
    lines = []
    for code, name, rings in shapes.values():
        total = sum(abs(area(r)) for r in rings)
        kept = [r for r in rings if abs(area(r)) >= LEAST_ISLAND and len(r) > 2]
        if total >= LEAST_SHAPE and kept:
            shape, (px, py) = "", (0, 0)
            for r in kept:
                for i, (x, y) in enumerate(r):
                    step = f"{x - px} {y - py}".replace(" -", "-")
                    if i == 0:
                        shape += "m" + step
                    else:
                        shape += ("l" if i == 1 else ("" if step.startswith("-") else " ")) + step
                    px, py = x, y
                shape += "z"
                px, py = r[0]
            lines.append((0, code, name, shape))
            continue
        if code == "-":
            continue
        if rings:
            biggest = max(rings, key=lambda r: (abs(area(r)), len(r)))
            x, y = (sum(v) / len(biggest) for v in zip(*biggest))
        elif code in capitals:
            lat, lon = re.fullmatch(r"([+-]\d+)([+-]\d+)", capitals[code]).groups()

            def degrees(text, whole):
                digits = text[1:]
                value = int(digits[:whole]) + int(digits[whole:whole + 2]) / 60
                return -value if text[0] == "-" else value

            x, y = place(degrees(lon, 3), degrees(lat, 2))
        else:
            lines.append((2, code, name, ""))
            continue
        lines.append((1, code, name, f"{round(x)} {round(y)}"))
    bottom = place(0, -56.5)[1]
    print(f"# Made by vendor/world.py of Natural Earth 1:50m (public domain). {WIDTH} × {round(bottom)}.")
    for order, code, name, shape in sorted(lines):
        print(code, name, shape, sep="\t")


main()
