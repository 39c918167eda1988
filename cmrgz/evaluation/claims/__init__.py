"""The claims that a sweep tests: declared before, judged by rules, with an interval each."""
