"""What the tests of a service and of its plug-ins import: a fake provider, a virtual clock, in-process clients."""
