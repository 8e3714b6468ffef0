"""All attacks, in the order in which they are made, by theme."""

from attack import Attack
from themes import compression, connections, encryption, frames, handshakes, http, memory

THEMES: dict[str, tuple[Attack, ...]] = {
    "Floods of frames": frames.ATTACKS,
    "Holds of memory": memory.ATTACKS,
    "Compression": compression.ATTACKS,
    "Holds of connections and descriptors": connections.ATTACKS,
    "Handshakes": handshakes.ATTACKS,
    "TLS": encryption.ATTACKS,
    "Plain HTTP": http.ATTACKS,
}

ATTACKS = tuple(attack for attacks in THEMES.values() for attack in attacks)
