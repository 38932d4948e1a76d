"""An emulator of both services, so that everything works without an account: the "sandbox".

It imports nothing from the rest of the package but
`jupyter_mjci.imaging`: an emulator that shared the client's code
would agree with the client's mistakes. The two meet in tests.

The engine, which knows no service:

* `app`: the `Sandbox`: the services, their clock, saving, and how
    to reach them
* `asgi`, `server`: HTTP requests in, responses out, in process
    and on loopback
* `faults`, `fault_injection`: what goes wrong on demand, and how
    a connection is made to break
* `webhooks`: callbacks, delivered to loopback addresses only
* `clock`, `storage`, `http`, `xml`: time, state on disk, requests
    as values, reading and writing XML
* `service`, `registry`: the descriptor of a service, and the list
    of services

One folder per service: `midjourney/` (the Midjourney proxies),
`tencent_ci/` (Tencent Cloud Infinite) and `cos/` (the buckets
that it works on). `datasets` writes synthetic job histories, with
the arrivals of `arrivals` and each service's own `dataset`.
"""
