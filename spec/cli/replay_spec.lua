-- `tidemill replay` without a live engine: options, events from files, bad lines, exit statuses.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local json = require "dkjson"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local replay = require "spec.support.replay"

local EACH = engine.rule([[ctx.emit("out", { id = ctx.id, s = ctx.stream, event = event })]], 'stream = { "orders", "pays", "log:*" }')

describe("tidemill replay", function()
  local folder

  local function with(rules, settings)
    folder = engine.folder { rules = type(rules) == "string" and { ["each.lua"] = rules } or rules, settings = settings }
    return folder
  end

  before_each(function() with(EACH) end)

  -- Over the text of a file; `server`, when a rule uses ctx.redis.
  local server
  local function file(text, ...)
    local path = folder .. "/events.jsonl"
    files.write_file(path, text)
    return replay.run { folder = folder, server = server, code = false, arguments = { "--file", path, ... } }
  end

  after_each(function() server = server and server:stop() end)

  local function refused(code, message, ...)
    local r = replay.run { folder = folder, code = code, arguments = { ... } }
    assert.equal("", r.out)
    assert.matches(message, r.err)
  end

  -- ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  it("refuses words that make no sense, and says what would", function()
    refused(2, "^tidemill: %-%-last stands instead of %-%-from and %-%-to; see tidemill replay %-%-help\n$", "--last", "7d", "--from", "1")
    refused(2, "^tidemill: %-%-against has a summary of its own; leave %-%-summary out; ", "--against", "x", "--summary")
    refused(2, "^tidemill: %-%-from must be start, end, an entry ID such as 1700000000000%-0, ms, or a day or moment such as ",
      "--from", "yesterday")
    refused(2, "^tidemill: %-%-to must be .*, not 2026%-02%-30; see ", "--to", "2026-02-30")
    refused(2, "^tidemill: %-%-from 2%-0 is behind %-%-to 1%-0\n$", "--from", "2-0", "--to", "1-0", "--file", "/dev/null")
    refused(2, "did you mean %-%-against", "--againts", "x")
    refused(2, "%-%-last must be ", "--last", "week")
    refused(2, "does not know what to do with", "extra")
  end)

  it("fails on a folder that is none, rules with mistakes, and no rules, before anything runs", function()
    refused(1, "^tidemill: .*none", "--file", "/dev/null", "--rules", "none")
    refused(1, "^tidemill: .*none", "--file", "/dev/null", "--against", "none")
    files.write_file(folder .. "/rules/bad.lua", "return {\n  stream = }\n")
    refused(1, "^[^\n]*/rules/bad.lua:2: .+\ntidemill: [^\n]*/rules has mistakes; see tidemill check ", "--file", "/dev/null")
    os.remove(folder .. "/rules/bad.lua")
    os.remove(folder .. "/rules/each.lua")
    refused(1, "^[^\n]*/rules: there are no rules", "--file", "/dev/null")
  end)

  it("fails when Redis cannot be had, but needs none for a file", function()
    local r = replay.run { folder = folder, url = "unix:///tmp/there-is-none.sock", code = 1 }
    assert.matches("^tidemill: .*there%-is%-none.sock", r.err)
    r = replay.run { folder = folder, url = "unix:///tmp/there-is-none.sock", arguments = { "--file", "-" },
      input = '{"stream":"orders","event":{"a":1}}\n' }
    assert.equal(1, #r:lines())
    with(engine.rule [[ctx.emit("out", { v = ctx.redis.get "x" })]])
    r = replay.run { folder = folder, url = "unix:///tmp/there-is-none.sock", code = 1, arguments = { "--file", "-", "--stream", "orders" },
      input = '{"a":1}\n' }
    assert.matches("^tidemill: a rule uses ctx.redis, and .*there%-is%-none.sock", r.err)
  end)

  it("looks things up for a file where Redis is", function()
    server = redis.start()
    server:call("SET", "x", "here")
    with(engine.rule [[ctx.emit("out", { v = ctx.redis.get "x" }) ctx.redis.set("x", "gone")]])
    local r = replay.run { folder = folder, server = server, arguments = { "--file", "-", "--stream", "orders" },
      input = '{"a":1}\n{"a":2}\n' }
    assert.same({ { v = "here" }, { v = "here" } }, r:emitted "out")
    assert.equal("here", server:call("GET", "x"))
  end)

  -- ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  it("takes what tail prints, streams one after the other, and merges them by ID", function()
    local r = file('{"id":"5-0","stream":"orders","event":{"n":1}}\n{"id":"7-1","stream":"orders","event":{"n":4}}\n'
      .. '{"id":"5-1","stream":"pays","event":{"n":2}}\n{"stream":"log:1","id":"6-0","event":{"n":3}}\n\n  \n'
      .. '{"id":"7-1","stream":"pays","event":{"n":5}}')
    assert.equal(0, r.code, r.err)
    local seen = {}
    for i, event in ipairs(r:emitted "out") do
      seen[i] = ("%s %s %d"):format(event.id, event.s, event.event.n)
    end
    assert.same({ "5-0 orders 1", "5-1 pays 2", "6-0 log:1 3", "7-1 orders 4", "7-1 pays 5" }, seen)
  end)

  it("takes events alone, whose IDs count up by a ms", function()
    local r = file('{"n":1}\n{"id":"x","event":"y"}\n{"id":"1800000000000-5","event":{"n":3}}\n{"event":{"n":4}}\n', "--stream", "orders")
    assert.equal(0, r.code, r.err)
    local ids, events = {}, {}
    for i, event in ipairs(r:emitted "out") do
      ids[i], events[i] = event.id, event.event
    end
    assert.same({ "1700000000000-0", "1700000000001-0", "1800000000000-5", "1800000000001-0" }, ids)
    assert.same({ { n = 1 }, { id = "x", event = "y" }, { n = 3 }, { n = 4 } }, events)
    r = file '{"n":1}\n'
    assert.same({ 2, "" }, { r.code, r.out })
    assert.equal(("tidemill: %s/events.jsonl:1: this event does not say which stream it is of; give it with --stream\n")
      :format(folder), r.err)
  end)

  it("takes the time of an event that says no ID as it is, though the ID that it gets is older", function()
    with(engine.rule([[ctx.emit("out", { now = ctx.now })]], 'stream = "orders", time = "at"'))
    local at = 1795884088254
    local r = file(('{"at":%.0f}\n'):format(at), "--stream", "orders")
    assert.same({ {}, at }, { r:letters(), r:emitted("out")[1].now })
    -- An ID of its own is when it was added.
    r = file(('{"id":"1700000000000-0","event":{"at":%.0f}}\n'):format(at), "--stream", "orders")
    assert.equal("future", r:lines()[1].letter.reason)
  end)

  it("says so when there was nothing to run over", function()
    server = redis.start()
    local function told(...)
      local r = replay.run { folder = folder, server = server, code = 0, arguments = { ... } }
      assert.equal("", r.out)
      return r.err
    end
    with(engine.rule("", 'stream = "log:*"'))
    assert.equal("tidemill: there are no entries: none of the streams that rules read is there\n", told())
    with(EACH)
    assert.equal("tidemill: there are no entries: no rule reads ordres\n", told("--stream", "ordres"))
    server:call("XADD", "orders", "1000-0", "n", "1")
    assert.equal("tidemill: there are no entries: the streams that rules read have none of that time\n", told("--from", "2000"))
    local r = replay.run { folder = folder, server = server, code = 0, arguments = { "--from", "2000", "--summary" } }
    assert.is_truthy(r.out:find("\nthere are no entries: ", 1, true), r.out)
  end)

  it("lists fields by name in a summary, and leaves no blanks at the ends of lines", function()
    local names = {}
    for n = 10, 40 do names[#names + 1] = ("f%d = 1"):format(n) end
    with(engine.rule(('ctx.emit("out", { %s }) ctx.emit("none", {})'):format(table.concat(names, ", ")), 'stream = "orders"'))
    local r = file('{"n":1}\n', "--stream", "orders", "--summary")
    local seen = {}
    for name in r.out:gmatch " (f%d%d) " do seen[#seen + 1] = name .. " = 1" end
    assert.same(names, seen)
    assert.is_nil(r.out:find " \n")
  end)

  it("names bad lines by file and number, and goes on", function()
    local r = file('{"n":1}\n{"n":}\n[1]\n{"id":"nonsense","stream":"orders","event":{}}\n{"id":"1-0","event":{"n":0}}\n{"n":2}\n',
      "--stream", "orders")
    assert.equal(1, r.code)
    local path = (folder .. "/events.jsonl"):gsub("[%-%.]", "%%%0")
    assert.matches("^tidemill: " .. path .. ":2: at byte %d+: .*\ntidemill: " .. path .. ":3: an event is a JSON object, {...}\n"
      .. "tidemill: " .. path .. [[:4: "id" must be an entry ID such as "1700000000000%-0"]] .. "\n"
      .. "tidemill: " .. path .. ":5: the ID 1%-0 is not behind 1700000000000%-0, the one before it in orders: ", r.err)
    assert.equal(2, #r:emitted "out")
    r = replay.run { folder = folder, code = 1, arguments = { "--file", folder .. "/none.jsonl" } }
    assert.matches("^tidemill: cannot open .*none.jsonl: No such file", r.err)
    r = replay.run { folder = folder, code = 1, arguments = { "--file", "-", "--stream", "orders" }, input = "oops\n" }
    assert.matches("^tidemill: standard input:1: ", r.err)
  end)

  it("takes an event of texts for an entry of plain fields, and \"fields\" as they are", function()
    with(engine.rule([[ctx.emit("out", { n = event.n, kind = type(event.n) })]], 'stream = "orders", event = { n = "number" }'),
      nil)
    local text = '{"n":"12"}\n{"n":12}\n{"fields":{"n":"13"}}\n'
    assert.same({ { n = 12, kind = "number" }, { n = 12, kind = "number" }, { n = 13, kind = "number" } },
      file(text, "--stream", "orders"):emitted "out")
    local rules = files.read_file(folder .. "/rules/each.lua")
    with({ ["each.lua"] = rules }, { streams = { orders = { codec = "json" } } })
    local r = file(text, "--stream", "orders")
    assert.same({ { n = 12, kind = "number" }, { n = 13, kind = "number" } }, r:emitted "out")
    assert.equal("schema", r:letters()[1].reason)
    with(EACH)
    assert.same({ a = "{x" }, file('{"a":"{x"}\n', "--stream", "orders"):emitted("out")[1].event)
  end)

  it("says which streams nobody reads, and keeps to --stream and the bounds", function()
    local text = '{"id":"1-0","stream":"orders","event":{"n":1}}\n{"id":"2-0","stream":"pays","event":{"n":2}}\n'
      .. '{"id":"3-0","stream":"orders","event":{"n":3}}\n{"id":"4-0","stream":"other","event":{"n":4}}\n'
    local r = file(text)
    assert.equal("tidemill: other: 1 event was left out: no rule reads this stream\n", r.err)
    assert.equal(3, #r:emitted "out")
    r = file(text, "--stream", "o*", "--json", "--summary")
    assert.same({ 2, { "other: 1 event was left out: no rule reads this stream, or --stream leaves it out",
      "pays: 1 event was left out: no rule reads this stream, or --stream leaves it out" } }, { r:json().events,
      (function(says) table.sort(says) return says end)(r:json().says) })
    assert.equal(2, #file(text, "--from", "2"):emitted "out")
    assert.equal(1, #file(text, "--from", "2", "--to", "2-9"):emitted "out")
    assert.equal(2, #file(text, "--last", "1ms"):emitted "out") -- before the last one that is read
    assert.equal(0, #file("", "--last", "1h"):emitted "out")
  end)

  it("knows that there is no timer, also for a rule that can have none", function()
    with { ["none.lua"] = engine.rule([[ctx.emit("out", { is = ctx.timer.get "x" == nil })]], 'stream = "orders", key = "k"') }
    assert.same({ { is = true } }, file('{"k":"u1"}\n', "--stream", "orders"):emitted "out")
  end)

  it("lets time go on to --to, and no further than the last event without it", function()
    with(engine.rule([[ctx.timer.set("t", 1000)]], 'stream = "orders", on_timer = function(_, ctx) ctx.emit("out", { at = ctx.now }) end'))
    local text = '{"id":"5000-0","event":{}}\n'
    assert.same({}, file(text, "--stream", "orders"):emitted "out")
    assert.same({ { at = 6000 } }, file(text, "--stream", "orders", "--to", "6000"):emitted "out")
    local r = file(text, "--stream", "orders", "--to", "1970-01-01T00:00:06Z")
    assert.same({ id = "6000", timer = "t", rule = "each", key = "", emit = { stream = "out", event = { at = 6000 } } }, r:lines()[1])
  end)

  -- ── what it prints ────────────────────────────────────────────────────────────────────────────────────────────────────

  it("prints emits, commands and letters as JSON, whatever their bytes", function()
    server = redis.start()
    with(engine.rule([[
      if event.k == "bad" then error("no \"way\"") end
      ctx.redis.set("k\n", "\255")
      ctx.emit("out", { k = ctx.key, text = "é\n\"" })]], 'stream = "orders", key = "k"'),
      { outputs = { out = { codec = "json", maxlen = 5 } } })
    local r = file('{"k":"a\\n"}\n{"k":"bad"}\n', "--stream", "orders")
    local lines = r:lines()
    assert.same({ id = "1700000000000-0", stream = "orders", rule = "each", key = "a\n", command = { "SET", "k\n", "\\xff" } }, lines[1])
    assert.same({ stream = "out", event = { k = "a\n", text = 'é\n"' } }, lines[2].emit)
    assert.equal("error", lines[3].letter.reason)
    assert.matches('^each.lua:5: no "way"$', lines[3].letter.message)
    assert.equal("bad", lines[3].key)
  end)

  it("sums up by rule and output: counts, and figures of numeric fields", function()
    server = redis.start()
    with({ ["a.lua"] = engine.rule([[
        if event.n == 3 then ctx.dead "three" end
        ctx.emit("out", { n = event.n, half = event.n / 2, name = "x" })
        ctx.redis.incr("c")]]), ["b.lua"] = engine.rule([[error "skip me"]], 'stream = "orders", on_error = "skip"'),
      ["c.lua"] = engine.rule("", 'stream = "pays"') })
    local text = ""
    for n = 1, 10 do
      text = text .. ('{"n":%d}\n'):format(n)
    end
    text = text .. '{"id":"1700000009000-0","fields":{"data":"{x"}}\n'
    local r = file(text, "--stream", "orders", "--summary", "--json")
    assert.equal(0, r.code, r.err)
    local found = r:json()
    assert.equal(11, found.events)
    local by_name = {}
    for _, rule in ipairs(found.rules) do
      by_name[rule.rule] = rule
    end
    assert.same({ 10, 1, 0, 0, 18, 1 }, { by_name.a.events, by_name.a.failed, by_name.a.skipped, by_name.a.late, by_name.a.effects,
      by_name.a.letters })
    assert.same({ 10, 10, 0 }, { by_name.b.failed, by_name.b.skipped, by_name.b.letters })
    assert.equal(0, by_name.c.events)
    assert.same({ { what = "letter", name = "decode", count = 1, fields = {} } }, by_name[""].outputs)
    local out = by_name.a.outputs[1]
    assert.same({ "emit", "out", 9 }, { out.what, out.name, out.count })
    local fields = {}
    for _, field in ipairs(out.fields) do
      fields[field.name] = field
    end
    assert.same({ name = "n", numbers = 9, others = 0, sum = 52, mean = 52 / 9, min = 1, max = 10 }, fields.n)
    assert.same({ name = "half", numbers = 9, others = 0, sum = 26, mean = 26 / 9, min = 0.5, max = 5 }, fields.half)
    assert.same({ name = "name", numbers = 0, others = 9 }, fields.name)
    assert.same({ "command", "INCR", 9 }, { by_name.a.outputs[2].what, by_name.a.outputs[2].name, by_name.a.outputs[2].count })
    r = file(text, "--stream", "orders", "--summary")
    assert.matches("^RULE +VERSION +EVENTS +FAILED +SKIPPED +LATE +EFFECTS +LETTERS\na +%x+ +10 +1 +0 +0 +18 +1\n", r.out)
    assert.matches("\na +emit +out +9 ", r.out)
    assert.matches("\n +n +52 +5.777777778 +1 +10\n", "\n" .. r.out:gsub("a +emit +out +9", ""))
    assert.matches("\na +letter +dead +1\n", r.out)
    assert.matches("\n11 events and 0 timers and windows in [%d.]+ s %([%d,]+ events a second%)\n$", r.out)
  end)

  it("shows on a terminal how far it is, and at last how fast it was", function()
    files.write_file(folder .. "/events.jsonl", ('{"n":1}\n'):rep(3000))
    local _, out = program.shell(([[script -qec '"$tidemill" replay --rules %s/rules --config %s/settings.lua --file %s/events.jsonl]]
      .. [[ --stream orders > %s/out' /dev/null]]):format(folder, folder, folder, folder))
    assert.matches("\r\27%[K3,000 events, [%d,]+ a second\r?\n$", out)
    local _, lines = files.read_file(folder .. "/out"):gsub("\n", "")
    assert.equal(3000, lines)
  end)

  it("ends quietly when nobody reads on", function()
    local text = ('{"n":1}\n'):rep(20000)
    files.write_file(folder .. "/events.jsonl", text)
    local code, out, err = program.shell(([["$tidemill" replay --rules %s/rules --config %s/settings.lua --file %s/events.jsonl ]]
      .. "--stream orders | head -1"):format(folder, folder, folder))
    assert.same({ 0, "" }, { code, err })
    assert.equal("orders", json.decode(out).stream)
  end)

  it("compares two versions over a file, once over standard input", function()
    local other = engine.folder { rules = { ["each.lua"] = EACH:gsub("event = event", "event = event, more = true") } }
    local input = '{"stream":"orders","event":{"n":1}}\n{"stream":"orders","event":{"n":2}}\n'
    local r = replay.run { folder = folder, against = other .. "/rules", code = 1, arguments = { "--file", "-" }, input = input }
    assert.matches("\n  more: 2 changed\n    %-  orders 1700000000000%-0  true %-> %(none%)\n", r.out)
    r = replay.run { folder = folder, against = folder .. "/rules", arguments = { "--file", "-", "--samples", "0" }, input = input }
    assert.matches("\n2 events in [%d.]+ s: no decision differs\n$", r.out)
    -- A bad line is a failure, too.
    r = replay.run { folder = folder, against = folder .. "/rules", code = 1, arguments = { "--file", "-" }, input = "x\n" .. input }
    assert.matches("no decision differs\n$", r.out)
  end)

  it("runs shadow rules like the others, and records no decisions", function()
    with({ ["each.lua"] = EACH, ["next.lua"] = (EACH:gsub("return tidemill.rule {", '%0 mode = "shadow", shadow_of = "each",')) },
      { record = 1 })
    local r = file('{"stream":"orders","event":{"n":1}}\n')
    local rules = {}
    for line in r.out:gmatch "[^\n]+" do rules[#rules + 1] = json.decode(line).rule end
    assert.same({ "each", "shadow:next" }, rules)
  end)
end)
