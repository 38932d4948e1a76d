"""What the help of a magic says beyond its builder's signature and docstring."""

from __future__ import annotations

from jupyter_mjci.services import MagicHelp

_JOB_DESCRIPTION = (
    "Follow a job or batch by its ID; or submit a new one, described by the cell's body: "
    "as TOML with the parameters of %ci_picture_job, or with a name those of %ci_batch; or as the "
    "<Request> XML of the service's documentation. {{name}} is replaced by your variable."
)
_JOB_EXAMPLE = """%%ci_job -o job
input = "input/deer.jpg"
rule = "imageMogr2/thumbnail/400x|imageMogr2/rotate/90"
output = "output/deer.jpg\""""

MAGIC_HELP = {
    "job": MagicHelp(_JOB_EXAMPLE, _JOB_DESCRIPTION),
    "jobs": MagicHelp("%ci_jobs --states Success,Failed --limit 100 -o jobs"),
    "objects": MagicHelp("%ci_objects --prefix input/"),
    "put_object": MagicHelp("%ci_put_object input/fox.png fox.png"),
    "picture_job": MagicHelp(required=("--rule RULE",)),
    "batch": MagicHelp(required=("--prefix PREFIX", "--rule RULE", "--output OUTPUT")),
}
