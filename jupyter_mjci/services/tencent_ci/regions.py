"""The names of regions: old configurations have other ones than today's hosts.

https://cloud.tencent.com/document/product/436/6224
"""

from __future__ import annotations

OLD_NAMES = {
    "bj": "ap-beijing",
    "cd": "ap-chengdu",
    "cn-east": "ap-shanghai",
    "cn-north": "ap-beijing-1",
    "cn-south": "ap-guangzhou",
    "cn-south-2": "ap-guangzhou-2",
    "cn-southwest": "ap-chengdu",
    "cq": "ap-chongqing",
    "ca": "na-toronto",
    "ger": "eu-frankfurt",
    "gz": "ap-guangzhou",
    "hk": "ap-hongkong",
    "sg": "ap-singapore",
    "sgp": "ap-singapore",
    "sh": "ap-shanghai",
    "tj": "ap-beijing-1",
}


def normalize_region(region: str) -> str:
    """Return today's name of a region: "sh" and "cos.ap-shanghai" are ap-shanghai."""
    name = region.strip().lower().removeprefix("cos.")
    return OLD_NAMES.get(name, name)
