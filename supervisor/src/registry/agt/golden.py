#!/usr/bin/env python3
"""Writes golden.json: documents, and what the toolkit's own engine decides about some calls under each.

    pip install agent-governance-toolkit-core==5.0.0
    python3 golden.py > golden.json
"""

import copy
import json
import logging
import random

from agentmesh.governance.policy import PolicyEngine
from importlib.metadata import version

logging.disable(logging.CRITICAL)
random.seed(1)

CALLS = [
    {"tool": "Read", "path": "/repo/a.txt"},
    {"tool": "Edit", "path": "/repo/a.txt"},
    {"tool": "Edit", "path": "/repo/b.txt"},
    {"tool": "Bash", "command": "ls"},
    {"tool": "Bash", "command": "rm b.txt"},
    {"tool": "create_issue"},
    {"tool": "merge"},
]
CONDITIONS = [
    "tool_name == 'Edit'",
    "tool.name == \"Bash\"",
    "action.type == 'Bash' and command == 'rm b.txt'",
    "tool_name in ['create_issue', 'merge']",
    "action.tool != 'Read'",
    "path == '/repo/a.txt' or path.value == '/repo/b.txt' and tool_name == 'Edit'",
    "file_path in ['/repo/b.txt']",
    "path != '/repo/a.txt'",
    "command.value != 'ls' and tool_name == 'Bash'",
    "agent.name == 'bot' and action.name == 'merge'",
    "agent.team == 'other'",
    "agent.owner != 'user:default/alice'",
    "environment == 'dev' and tool_name == 'Read'",
    "environment in ['staging', 'production']",
    "repository == '/repo' and tool_name != 'Bash'",
]


def context(call):
    value = {
        "action": {"type": call["tool"], "tool": call["tool"], "name": call["tool"]},
        "tool_name": call["tool"],
        "tool": {"name": call["tool"]},
        "environment": "dev",
        "repository": "/repo",
        "agent": {"name": "bot", "team": "team", "owner": "user:default/alice"},
    }
    if "path" in call:
        value["file_path"] = call["path"]
        value["path"] = {"value": call["path"]}
    if "command" in call:
        value["command"] = {"value": call["command"]}
    return value


def flat(value):
    """What `path` and `command` without `.value` look at."""
    value = copy.deepcopy(value)
    for name in ("path", "command"):
        if name in value:
            value[name] = value[name]["value"]
    return value


def document(rules, default):
    lines = ["apiVersion: governance.toolkit/v1", "name: golden", "agents: ['*']"]
    if default:
        lines.append(f"default_action: {default}")
    lines.append("rules:")
    for number, (condition, action, priority) in enumerate(rules):
        lines += [f"  - name: r{number}", f"    condition: {json.dumps(condition)}", f"    action: {action}"]
        if priority:
            lines.append(f"    priority: {priority}")
    return "\n".join(lines) + "\n"


def decided(text, call):
    engine = PolicyEngine(conflict_strategy="deny_overrides")
    engine.load_yaml(text)
    has_value = ".value" in text
    answer = engine.evaluate("*", context(call) if has_value else flat(context(call)))
    return "allow" if answer.allowed else "ask" if answer.action == "require_approval" else "deny"


def main():
    cases = []
    plain = [condition for condition in CONDITIONS if ".value" not in condition]
    within = [condition.replace("path ==", "path.value ==").replace("path !=", "path.value !=")
              .replace("command ==", "command.value ==").replace("file_path.value", "file_path")
              for condition in CONDITIONS]
    for number in range(120):
        pool = plain if number % 2 else [one.replace(".value.value", ".value") for one in within]
        actions = ["allow", "deny", "require_approval"]
        rules = [(random.choice(pool), random.choice(actions), random.choice([0, 0, 5, 10]))
                 for _ in range(random.randint(1, 4))]
        text = document(rules, random.choice([None, "allow", "allow", "deny"]))
        cases.append({"document": text, "decisions": [decided(text, call) for call in CALLS]})
    print(json.dumps({"toolkit": version("agent-governance-toolkit-core"), "calls": CALLS, "cases": cases}, indent=1))


main()
