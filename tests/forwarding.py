"""The client behind proxies, by the parts that the edge is made of."""

from aigw_middleware.addresses import MAX_HOPS, AddressSet, reported_address, usual_spelling


def client_address(peer: str | None, forwarded: list[str], trusted: AddressSet, max_hops: int = MAX_HOPS) -> str | None:
    """Return the client as the edge finds it: what a trusted peer reports, else the peer."""
    named = reported_address(forwarded, trusted, max_hops) if peer and peer in trusted else None
    return named if named is not None else usual_spelling(peer)
