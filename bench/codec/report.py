"""The table of `make bench-codec`: reads what the three programs printed, from standard input.

A line is "CASE WHAT NUMBER" (nanoseconds a message, a line a round), "CASE count FIELDS BYTES",
"CASE allocations-WHAT NUMBER" (nothing but 0 gets here) or "cycle ns NUMBER". Prints Markdown; ends
with 1 when the walk is not AHEAD times as fast as both others somewhere."""

import sys

AHEAD = 5.0


def read(lines):
    times, counts, cycle = {}, {}, 0.0
    for line in lines:
        name, what, *rest = line.split()
        if name == "cycle":
            cycle = float(rest[0])
        elif what == "count":
            counts[name] = (int(rest[0]), int(rest[1]))
        elif what.startswith("allocations-"):
            if int(rest[0]):
                sys.exit(f"{name}: {what}")
        else:
            times.setdefault(name, {}).setdefault(what, []).append(float(rest[0]))
    return times, counts, cycle


def cell(ns, size):
    """Nanoseconds, million messages a second, gigabytes a second."""
    return f"{ns:.0f} ({1e3 / ns:.2f}, {size / ns:.2f})"


def main():
    times, counts, cycle = read(sys.stdin)
    columns = ("walk", "stream", "decide", "edit", "librdkafka", "kafka")
    behind = 0
    print("Best of the rounds: ns a message (million messages/s, GB/s without records).\n")
    print("| message | bytes, fields | " + " | ".join(columns) + " |")
    print("|" + "---|" * (len(columns) + 2))
    best = {}
    for name, (fields, size) in counts.items():
        best[name] = {w: min(times[name][w]) for w in columns}
        cells = (cell(best[name][w], size) for w in columns)
        print(f"| {name.replace('-', ' ')} | {size}, {fields} | " + " | ".join(cells) + " |")
    print(f"\nA cycle is {cycle:.3f} ns. Times as fast as the faster of librdkafka and Kafka:\n")
    print("| message | walk | stream | walk, cycles a field | stream, cycles a field "
          "| walk, cycles a byte |")
    print("|" + "---|" * 6)
    for name, (fields, size) in counts.items():
        m = best[name]
        rival = min(m["librdkafka"], m["kafka"])
        behind += rival < AHEAD * m["walk"]
        print(f"| {name.replace('-', ' ')} | {rival / m['walk']:.1f} | {rival / m['stream']:.2f} "
              f"| {m['walk'] / cycle / fields:.1f} | {m['stream'] / cycle / fields:.1f} "
              f"| {m['walk'] / cycle / size:.2f} |")
    if behind:
        print(f"\n{behind} messages are not {AHEAD:.0f} times ahead.")
    return 1 if behind else 0


sys.exit(main())
