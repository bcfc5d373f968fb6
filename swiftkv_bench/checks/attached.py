"""What can be wrong with a server of somebody else's and with what it is asked by."""

from swiftkv_bench.checks.finding import Finding
from swiftkv_bench.schema.engine import EngineSpec


def check_certificate(spec: EngineSpec) -> Finding | None:
    """Was it the server that answered?"""
    if not spec.insecure:
        return None
    return Finding(
        "insecure",
        "warning",
        f"The certificate of {spec.url} was not verified (--insecure): any machine in between could have answered.",
        "Give the certificate of its authority with --tls-ca.",
        arm=spec.arm,
    )
