"""Opens packets of AH around ESP with scapy, which shares no code with the gateway.

Arguments: the key file (comments "# AH: ..." and lines of ESP, as the gateway's key log writes them). Standard input: packets from their IPv4 header on,
in hexadecimal, one a line. For each it prints what is on the wire, and in clear what was inside; an ICV that is wrong ends it with an error.
"""
import csv
import sys

from scapy.layers.inet import IP
from scapy.layers.ipsec import AH, ESP, SecurityAssociation

NAMES = {"HMAC-SHA-256-128 [RFC4868]": "SHA2-256-128", "AES-GCM with 16 octet ICV [RFC4106]": "AES-GCM", "NULL": "NULL"}


def associations(path):
    """The SAs of the key file by protocol and SPI."""
    found = {}
    for line in open(path):
        proto = AH if line.startswith("# AH: ") else ESP
        _, source, destination, spi, cipher, key, auth, auth_key = next(csv.reader([line.removeprefix("# AH: ").strip()]))
        options = {"auth_algo": NAMES[auth], "auth_key": bytes.fromhex(auth_key[2:])}
        if proto is ESP:
            options = {"crypt_algo": NAMES[cipher], "crypt_key": bytes.fromhex(key[2:]), "tunnel_header": IP(src=source, dst=destination)}
        found[proto, int(spi, 16)] = SecurityAssociation(proto, spi=int(spi, 16), **options)
    return found


def main():
    sas = associations(sys.argv[1])
    for line in sys.stdin:
        packet = IP(bytes.fromhex(line))
        outer = packet[AH]
        within = IP(bytes(sas[AH, outer.spi].decrypt(packet)))  # raises IPSecIntegrityError
        inner = sas[ESP, within[ESP].spi].decrypt(within)
        print("IP AH ESP", inner.src, inner.dst, bytes(inner[IP].payload.payload).decode())


main()
