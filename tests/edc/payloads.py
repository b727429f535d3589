"""Industry Core data (CX-0127): one example of each of five kinds of aspect, made from a seed. Made-up
parts of made-up companies, in the shape of the aspects' models."""

import json
import random

KINDS = ("SerialPart", "Batch", "JustInSequencePart", "SingleLevelBomAsBuilt",
         "SingleLevelUsageAsBuilt")
MANUFACTURER, CUSTOMER, SITE = "BPNL00000003B2OM", "BPNL00000003AYRE", "BPNS00000003B2OM"
PARTS = (("HV battery module", "NMC-96S1P-0417", "8W0-915-105-C", "27440190"),
         ("Battery management controller", "BMC-12V-2231", "8W0-915-181-A", "27242608"),
         ("Electric drive unit, rear", "EDU-R-160-118", "8W0-901-040-F", "27022602"))


def uuid(rng):
    text = f"{rng.getrandbits(128):032x}"
    return f"urn:uuid:{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _moment(rng):
    return f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T" \
           f"{rng.randrange(24):02}:{rng.randrange(60):02}:00.000Z"


def _identifiers(**values):
    return [{"key": key, "value": value} for key, value in values.items()]


def _made(rng):
    return {"date": _moment(rng), "country": "DEU",
            "sites": [{"catenaXsiteId": SITE, "function": "production"}]}


def _type(rng):
    name, manufacturer, customer, number = rng.choice(PARTS)
    return {"manufacturerPartId": manufacturer, "customerPartId": customer,
            "nameAtManufacturer": name, "nameAtCustomer": f"{name} (Zulieferteil, geprüft)",
            "partClassification": [{"classificationStandard": "ECLASS",
                                    "classificationID": number,
                                    "classificationDescription": name}]}


def _quantity(rng):
    return {"value": rng.randrange(1, 9), "unit": "unit:piece"}


def _relation(rng, partner):
    return {"catenaXId": uuid(rng), "businessPartner": partner, "createdOn": _moment(rng),
            "lastModifiedOn": _moment(rng), "quantity": _quantity(rng),
            "hasAlternatives": bool(rng.getrandbits(1))}


def aspect(kind, rng):
    """One aspect as its JSON object."""
    identity = uuid(rng)
    if kind == "SerialPart":
        return {"catenaXId": identity, "localIdentifiers": _identifiers(
            manufacturerId=MANUFACTURER, partInstanceId=f"SN-{rng.randrange(10**6):06}",
            van=f"OMAYS{rng.randrange(10**12):012}"),
            "manufacturingInformation": _made(rng), "partTypeInformation": _type(rng)}
    if kind == "Batch":
        return {"catenaXId": identity, "localIdentifiers": _identifiers(
            manufacturerId=MANUFACTURER, batchId=f"BID{rng.randrange(10**8):08}"),
            "manufacturingInformation": _made(rng), "partTypeInformation": _type(rng)}
    if kind == "JustInSequencePart":
        return {"catenaXId": identity, "localIdentifiers": _identifiers(
            manufacturerId=MANUFACTURER, jisNumber=f"JIS{rng.randrange(10**8):08}",
            jisCallDate=_moment(rng), parentOrderNumber=f"DNR{rng.randrange(10**8):08}"),
            "manufacturingInformation": _made(rng), "partTypeInformation": _type(rng)}
    if kind == "SingleLevelBomAsBuilt":
        return {"catenaXId": identity,
                "childItems": [_relation(rng, MANUFACTURER) for _ in range(rng.randrange(1, 5))]}
    if kind == "SingleLevelUsageAsBuilt":
        return {"catenaXId": identity, "customers": [CUSTOMER],
                "parentItems": [_relation(rng, CUSTOMER) | {"isOnlyPotentialParent": False}
                                for _ in range(rng.randrange(1, 3))]}
    raise ValueError(kind)


def event(kind, rng):
    """(key, value, headers) of one record."""
    body = aspect(kind, rng)
    return (body["catenaXId"].encode(),
            json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            (("aspect", kind.encode()), ("bpn", MANUFACTURER.encode()),
             ("traceparent", f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01"
              .encode())))


def rows(partitions, per_kind, seed=0, start_ms=1_790_000_000_000):
    """Rows as records.write() takes them: each kind so often in each partition."""
    rng = random.Random(seed)
    out = []
    for _ in range(per_kind):
        for kind in KINDS:
            for partition in range(partitions):
                key, value, headers = event(kind, rng)
                out.append((partition, start_ms + len(out), key, value, headers))
    return out
