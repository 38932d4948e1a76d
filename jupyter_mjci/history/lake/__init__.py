"""Keep histories that are larger than one machine: a Delta table, partitioned by month.

Journals are merged into it. A merge takes what is new or changed
in the journal since the last one. How far it came is part of the
same commit (a Delta transaction under the journal's id), so a
merge that is killed has happened completely or not at all. A
merge reads only files of the days concerned: a job's day never
changes once the job was seen, and a margin of one day covers
journals that learned the day from another clock. Files have a
target size, so the cost of a merge does not grow with the lake;
row groups are small, so that a worker with little memory can read
them.

Readers see the lake with the journal's later changes laid over
it. Needs the extra `lake`.
"""
