"""``python -m swiftkv_bench``: the command line without an installed script."""

from swiftkv_bench.cli import main

if __name__ == "__main__":
    main()
