"""An emulator of Tencent Cloud Object Storage (COS), the storage that Tencent CI works on.

* `store`: buckets, objects, unfinished uploads; which host name
    means which bucket
* `objects`: `ObjectPlane`: the endpoints (put, get, list, copy,
    multipart, …)
* `requests`: what a request asks for, its parameters and its body
* `listings`: pages of objects, unfinished uploads and parts
* `archive`: objects that have to be restored before they are read
* `conditions`: conditional requests, byte ranges and the headers
    of an object's response
* `processing`: picture rules on objects, and the Pic-Operations
    header
* `verifier`: checks the signature of a request
"""
