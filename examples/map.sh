#!/bin/sh
# warm map: one command for every file, several at a time, with a log that lets a broken run be resumed.
set -eu

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"
for n in 1 2 3 4 5; do seq "$n" > "day $n.txt"; done

# Values are quoted: a blank in a name is just a blank.
warm map -j 2 -k 'wc -l < {} && gzip -k {}' ::: *.txt
ls *.gz

# The third fails. A second run with --resume-failed does that one again, and nothing else.
set -- 'echo job {}; test {} != 3 || test -e repaired' ::: 1 2 3 4
warm map -k --joblog log "$@" || echo "failed: $?"
touch repaired
warm map -k --joblog log --resume-failed "$@"

# prints:
# 1
# 2
# 3
# 4
# 5
# day 1.txt.gz
# day 2.txt.gz
# day 3.txt.gz
# day 4.txt.gz
# day 5.txt.gz
# job 1
# job 2
# job 3
# job 4
# failed: 1
# job 3
