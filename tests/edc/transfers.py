"""The signaling messages of a control plane, said by hand: for cases that need no connector."""

import plane as planes


def start(plane, transfer, topic="serial-parts", prefix="bob", participant="bob", properties=None,
          **address):
    """(200, the EDR's properties by their last names), or (status, what was answered)."""
    data = {"topic": topic, "kafka.group.prefix": prefix} | {
        name.replace("__", "."): value for name, value in address.items()}
    status, body = plane.ask("POST", "/v1/dataflows/start", {
        "@context": {"@vocab": planes.EDC, "dspace": planes.DSPACE},
        "@type": "DataFlowStartMessage", "processId": transfer, "datasetId": "asset",
        "agreementId": f"agreement-{transfer}", "participantId": participant,
        "transferType": plane.transfer_type, "flowType": "PULL", "properties": properties or {},
        "callbackAddress": "http://127.0.0.1:1/control",
        "sourceDataAddress": {
            "@type": "dspace:DataAddress", "dspace:endpointType": "KafkaBroker",
            "dspace:endpointProperties": [
                {"@type": "dspace:EndpointProperty", "dspace:name": planes.EDC + name,
                 "dspace:value": value} for name, value in data.items()]}})
    return status, (_properties(body) if status == 200 else body)


def _properties(body):
    """Every name with its value, wherever the answer's address has them."""
    found, waiting = {}, [body]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            named = {key.rpartition(":")[2]: value for key, value in part.items()}
            if "name" in named and "value" in named:
                found[named["name"].rpartition("/")[2]] = named["value"]
            waiting += part.values()
    return found


def end(plane, transfer, how="terminate"):
    status, body = plane.ask("POST", f"/v1/dataflows/{transfer}/{how}", {
        "@context": {"@vocab": planes.EDC}, "@type": f"DataFlow{how.title()}Message"})
    assert status == 204, (status, body)
