"""A small stdio MCP server for tests. Answers are made as text, so that spellings survive. Run with python3 -u."""
import json, os, sys, threading, time

out = threading.Lock()
cancelled = []
hanging = []
done = threading.Event()
tools = ["echo", "fail", "error", "wait", "quick", "progress", "crash", "hang", "env", "ask", "grow", "flood", "seen"]
tools += ["dotted.name/x", "one_with_a_name_that_goes_on_and_on_and_on_without_end", "plain_deadbeef"]
mode = os.environ.get("MODE", "")
answers = {}


def say(text):
    with out:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def reply(id, result):
    say('{"jsonrpc":"2.0","x-extension":1.50,"id":%s,"result":%s}' % (json.dumps(id), result))


def text(value):
    return '{"content":[{"type":"text","text":%s,"x":1.0}],"structuredContent":{"n":1E2},"_meta":{"t":-0}}' % json.dumps(value)


def definition(name):
    return '{"x-first":1.50,"name":"%s","inputSchema":{"type":"object","$schema":"s"},"annotations":{"readOnlyHint":true}}' % name


def call(id, params, line):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo" or name in tools[13:16]:
        reply(id, text(line))
    elif name == "fail":
        reply(id, '{"content":[],"isError":true}')
    elif name == "error":
        say('{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"no","data":{"n":1.0}}}' % json.dumps(id))
    elif name == "wait":
        done.wait(30)
        reply(id, text("waited"))
    elif name == "quick":
        done.set()
        reply(id, text("quick"))
    elif name == "progress":
        token = params["_meta"]["progressToken"]
        for n in range(2):
            say('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d.0,"progressToken":%s,"x":1.0}}' % (n, json.dumps(token)))
        if arguments.get("hold"):
            done.wait(30)
        else:
            time.sleep(0.2)
        reply(id, text("progressed"))
    elif name == "crash":
        os._exit(7)
    elif name == "hang":
        hanging.append(id)
    elif name == "env":
        reply(id, text(json.dumps(dict(os.environ), sort_keys=True)))
    elif name == "ask":
        say('{"jsonrpc":"2.0","id":"theirs","method":"sampling/createMessage","params":{}}')
        while "theirs" not in answers:
            time.sleep(0.01)
        reply(id, text(answers["theirs"]))
    elif name == "grow":
        tools.append("grown")
        say('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
        reply(id, text("grown"))
    elif name == "flood":
        reply(id, text("x" * arguments["bytes"]))
    elif name == "seen":
        reply(id, text(json.dumps([hanging, cancelled])))
    else:
        say('{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool"}}' % json.dumps(id))


sys.stderr.write("hello from stderr\n")
print("a banner that is no message")
if mode == "exit":
    sys.exit(3)
for line in sys.stdin:
    line = line.rstrip("\n")
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if mode == "deaf" or (mode == "mute" and method == "tools/call"):
        continue
    if method is None:
        answers[id] = line
    elif method == "initialize":
        if mode == "future":
            reply(id, '{"protocolVersion":"2026-07-28","capabilities":{}}')
        else:
            reply(id, '{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"t","version":"1"},"instructions":"Use %s well."}' % mode)
    elif method == "tools/list":
        # One tool a page, in an order of its own.
        at = int(message["params"].get("cursor", len(tools) - 1))
        next = ',"nextCursor":"%d"' % (at - 1) if at > 0 else ""
        reply(id, '{"tools":[%s]%s}' % (definition(tools[at]), next))
    elif method == "ping" and mode != "mute":
        reply(id, "{}")
    elif method == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])
    elif method == "tools/call":
        threading.Thread(target=call, args=(id, message["params"], line), daemon=True).start()
