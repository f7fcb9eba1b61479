"""The demo, `make ride`: one order's story, from its first hop to the console."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from children import Children
from parts import start_broker
from ride.driver import Ride, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="make ride ARGS=…", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when the story has been told")
    parser.add_argument(
        "--last-hop",
        type=float,
        default=40,
        metavar="SECONDS",
        help="when its last hop fails, after the order; traces are decided after 7/8 of that (default: 40)",
    )
    options = parser.parse_args()
    if not 1 <= options.last_hop <= 3600:
        parser.error("--last-hop must be from 1 to 3600 seconds")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    children = Children(Path(tempfile.mkdtemp(prefix="tailrace-ride-")))
    try:
        tell(children, options)
    except KeyboardInterrupt:
        print()
    except AssertionError as error:
        ended = [child for child in children.all if child.process.poll() is not None]
        for child in ended:
            print(f"--- {child.name}: {child.process.returncode}\n{child.tail[-3000:]}", file=sys.stderr)
        print(error, file=sys.stderr)
        return 1
    finally:
        children.kill_since(0)
        shutil.rmtree(children.directory, ignore_errors=True)
    return 0


def tell(children: Children, options: argparse.Namespace) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)

    say("starting a broker, a collector, Tailrace, a queue and five services")
    _, broker = start_broker(children)
    ride = Ride(children, broker, "ride", options.last_hop)
    ride.start()
    story = play(ride, say)
    print(f"\n{ride.explain(story.failed)}")
    cost = ride.overhead()
    print(
        f"instrumentation costs {cost['request_us']:.0f} µs of processor time a span in the request's way, "
        f"{cost['with_export_us']:.0f} µs with its export"
    )
    if options.once:
        return
    console, address = ride.start_console()
    print(f"the story in the console: {address}/#/trace/{story.failed.trace_id}")
    print("Ctrl-C ends it all", flush=True)
    while True:
        console.require_running()
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
