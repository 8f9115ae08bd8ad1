"""What one call of the Agent Governance Toolkit's govern() takes under many rules, in nanoseconds: `agt.py RULES ROUNDS`
prints the median and the 99th percentile. Its audit is off, as it is kept in memory there."""

import sys
import time
import warnings

warnings.simplefilter("ignore")

from agentmesh.governance import govern


def document(rules):
    lines = ["apiVersion: governance.toolkit/v1", "name: bench", "default_action: allow", "rules:"]
    for number in range(rules):
        tool = f"server{number // 20}/tool{number % 20}"
        lines += [
            f"  - name: r{number}",
            f"    condition: tool.name == '{tool}' and environment.value == 'production'",
            "    action: deny",
        ]
    return "\n".join(lines)


def main():
    rules, rounds = int(sys.argv[1]), int(sys.argv[2])
    call = govern(lambda **_: None, policy=document(rules), audit=False)
    times = []
    for number in range(rounds):
        path = f"/repo/src/f{number}.rs"
        start = time.perf_counter_ns()
        call(tool={"name": "Edit"}, path={"value": path}, environment="dev")
        times.append(time.perf_counter_ns() - start)
    times.sort()
    print(times[len(times) // 2], times[len(times) * 99 // 100])


main()
