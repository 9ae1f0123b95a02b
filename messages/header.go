package messages

// NATSPortHeader names the port of the NATS door, on the page / of the HTTP door: the command line speaks NATS, and people know the HTTP address.
const NATSPortHeader = "X-Modelops-Nats-Port"
