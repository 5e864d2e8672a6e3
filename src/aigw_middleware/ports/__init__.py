import time
class Clock:
    now=staticmethod(time.time); monotonic=staticmethod(time.monotonic)
class Ports:
    def __init__(self, color, stores, clock):
        self.color=color; self.stores=stores; self.store=stores["default"]; self.clock=clock or Clock()
    async def close(self): pass
def async_ports(stores, clock=None): return Ports("async", stores, clock)
def blocking_ports(stores, clock=None): return Ports("sync", stores, clock)
