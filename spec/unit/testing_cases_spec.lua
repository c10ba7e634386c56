-- Cases from JSON lines, and how differences are shown.
local runtime = require "spec.support.runtime"
local files = require "spec.support.files"
local cases = require "tidemill.testing_cases"
local diff = require "tidemill.testing_diff"
local json = require "tidemill.json"
local testing = require "tidemill.testing"
assert(runtime)

local LOYALTY = [[
return { stream = "purchase", key = "user_id", event = { user_id = "string", total = "number" },
  on_event = function(event, ctx)
    if event.total < 0 then error "a refund" end
    if event.total == 7 then
      ctx.state.segment = ctx.redis.hget("user:7", "segment")
      ctx.reason("asked")
      return
    end
    ctx.state.spent = (ctx.state.spent or 0) + event.total
    ctx.timer.set("remind", "30m")
    if ctx.state.spent > 100 then
      ctx.emit("offers", { user_id = ctx.key, percent = 10 })
      ctx.redis.hincrby("gold", ctx.key, 1)
    end
  end,
  on_timer = function(name, ctx)
    ctx.emit("reminders", { user_id = ctx.key })
    ctx.state = nil
  end }
]]
local OTHER = "return { stream = 'purchase', on_event = function(e, ctx) ctx.emit('seen', e) end }"

local folder = files.folder_with

-- The results of lines of cases for the rule above, as "passed" or what is said without the place.
local function run(lines, options)
  local path = folder { ["rules/loyalty.lua"] = LOYALTY, ["spec/loyalty.cases.jsonl"] = lines }
  local said = {}
  for n, result in ipairs(cases.run(path .. "/spec/loyalty.cases.jsonl", options)) do
    said[n] = result.is_passed and "passed" or cases.text(result):sub(#path + 7)
  end
  return said
end

local function one(case, options) return run(case, options)[1] end

local SPEND = '"stream":"purchase","event":{"user_id":"u1","total":120}'
local OFFER = '{"stream":"offers","event":{"user_id":"u1","percent":10}}'
local GOLD = '{"command":["HINCRBY","gold","u1",1]}'

describe("a file of cases", function()
  it("passes over empty lines and comments, and counts lines", function()
    local said = run('\n// a comment\n  # another\n{"name":"a",' .. SPEND .. ',"effects":[' .. OFFER .. "," .. GOLD
      .. ']}\r\n   \n{"name":"b",' .. SPEND .. "}")
    assert.equal("passed", said[1])
    assert.matches("^loyalty.cases.jsonl:6: b\n", said[2])
    assert.equal(2, #said)
  end)

  it("takes the long form, lines of tidemill tail, entries of fields, and time", function()
    assert.same({ "passed" }, run('{"name":"long","events":['
      .. '{"id":"1700000000000-0","stream":"purchase","event":{"user_id":"u1","total":1}},'
      .. '{"id":"1700000000005-3","stream":"purchase","fields":{"user_id":"u2","total":"2.5"}},{"advance":"29m"},{"advance":60000}],'
      .. '"effects":[{"id":"1-1","stream":"reminders","event":{"user_id":"u1"}},{"stream":"reminders","event":{"user_id":"u2"}}],'
      .. '"state":{"loyalty":{"u1":null,"u2":null}}}'))
  end)

  it("gives state, answers and looks at timers, letters and reasons", function()
    assert.same({ "passed", "passed", "passed", "passed", "passed" }, run(table.concat({
      '{"given":{"state":{"loyalty":{"u1":{"spent":99},"u2":null}}},"stream":"purchase","event":{"user_id":"u1","total":2},"effects":['
        .. OFFER .. "," .. GOLD .. '],"state":{"loyalty":{"u1":{"spent":101}}},"timers":{"loyalty":[{"key":"u1","name":"remind"}]}}',
      '{"redis":{"HGET user:7 segment":"vip"},"stream":"purchase","event":{"user_id":"u1","total":7},'
        .. '"state":{"loyalty":{"u1":{"segment":"vip"}}},"reasons":[{"reason":"asked"}],"timers":{"loyalty":[]}}',
      '{"redis":{"HGET user:7 segment":null},"stream":"purchase","event":{"user_id":"u1","total":7},"state":{"loyalty":{"u1":null}}}',
      '{"stream":"purchase","event":{"user_id":"u1"},"letters":[{"reason":"schema","rule":"loyalty"}]}',
      '{"stream":"purchase","event":{"user_id":"u1","total":-1},"letters":[{"reason":"error","message":"loyalty.lua:3: a refund"}]}',
    }, "\n")))
  end)

  it("compares only what is named, but effects and letters whole", function()
    assert.equal("passed", one('{"stream":"purchase","event":{"user_id":"u1","total":1}}'))
    assert.equal('loyalty.cases.jsonl:1: a\neffects[1]: not expected {"event":{"percent":10,"user_id":"u1"},"stream":"offers"}\n'
      .. 'effects[2]: not expected {"command":["HINCRBY","gold","u1","1"]}', one('{"name":"a",' .. SPEND .. "}"))
    assert.equal('loyalty.cases.jsonl:1: letters[1]: not expected {"id":"1700000000000-0","key":"u1","message":"loyalty.lua:3: a refund",'
      .. '"reason":"error","rule":"loyalty","stream":"purchase"}', one '{"stream":"purchase","event":{"user_id":"u1","total":-1}}')
    assert.equal('loyalty.cases.jsonl:1: letters[1]: missing {"reason":"schema"}',
      one '{"stream":"purchase","event":{"user_id":"u1","total":1},"letters":[{"reason":"schema"}]}')
  end)

  it("says where what came differs, in columns", function()
    local text = one('{"name":"gold gets five percent",' .. SPEND .. ',"effects":[{"stream":"offers","event":{"user_id":"u1","percent":5}},'
      .. GOLD .. '],"state":{"loyalty":{"u1":{"spent":99.5}}},"timers":{"loyalty":[{"key":"u1","name":"forget"}]}}')
    assert.equal([[loyalty.cases.jsonl:1: gold gets five percent
effects[1].event.percent: expected 5,        got 10
state.loyalty.u1.spent:   expected 99.5,     got 120
timers.loyalty[1].name:   expected "forget", got "remind"]], text)
  end)

  it("is exact about 64-bit integers", function()
    local head = '{"rules":"../rules/other.lua"}\n'
    local path = folder { ["rules/other.lua"] = OTHER, ["spec/big.cases.jsonl"] = head
      .. '{"stream":"purchase","event":{"n":9007199254740993},"effects":[{"stream":"seen","event":{"n":9007199254740993}}]}\n'
      .. '{"stream":"purchase","event":{"n":9007199254740993},"effects":[{"stream":"seen","event":{"n":9007199254740992}}]}\n'
      .. '{"stream":"purchase","event":{"n":null,"l":[null,[],{}]},"effects":[{"stream":"seen","event":{"l":[null,[],{}]}}]}\n' }
    local results = cases.run(path .. "/spec/big.cases.jsonl")
    assert.is_true(results[1].is_passed and results[3].is_passed)
    assert.matches("effects%[1%].event.n: expected 9007199254740992, got 9007199254740993$", cases.text(results[2]))
  end)

  it("keeps cases apart", function()
    local line = '{"stream":"purchase","event":{"user_id":"u1","total":60},"state":{"loyalty":{"u1":{"spent":60}}}}'
    assert.same({ "passed", "passed" }, run(line .. "\n" .. line))
  end)
end)

it("a file of cases may begin with a byte order mark, and its lines may end as on Windows", function()
  assert.same({ "passed", "passed" }, run '\239\187\191{"events":[]}\r\n\r\n{"events":[]}\r\n')
end)

describe("mistakes in a file of cases", function()
  local ROWS = {
    { '{"name":"a","strem":"purchase","event":{}}', "a\nunknown member `strem`; did you mean `stream`?" },
    { '{"name":"a"}', "a\nthe case has no events: give `events`, or `stream` and `event`" },
    { '{"events":{}}', "`events` must be a list, it is an object" },
    { '{"name":5,"stream":"s","event":{}}', "`name` must be text, it is a number" },
    { '{"events":[],"stream":"s"}', "`stream` stands beside `events`: put it into the list" },
    { '{"events":[{"stream":"s"}]}', "`events[1]` needs either `event` or `fields`" },
    { '{"events":[{"event":{}}]}', "`events[1].stream` is missing: the name of the stream that the event comes on" },
    { '{"events":[{"stream":"s","event":[1]}]}', "`events[1].event` must be an object, it is a list" },
    { '{"events":[{"stream":"s","evnt":{}}]}', "unknown member `events[1].evnt`; did you mean `event`?" },
    { '{"events":[{"advance":"1m","stream":"s"}]}', "unknown member `events[1].stream`; known are advance" },
    { '{"events":[{"advance":"soon"}]}', "'soon' is no duration" },
    { '{"events":[{"advance":null}]}', "`events[1].advance` must be text, it is null" },
    { '{"events":[],"effects":[{"command":["GET",null]}]}', "`effects[1].command[2]` must be text, it is null" },
    { '{"events":[],"given":{"state":{"loyalty":{"u1":5}}}}', "a state is a table, this is a number" },
    { '{"events":[],"effects":[{"stream":"o"}]}', "`effects[1]` needs `stream` and `event`, or `command`" },
    { '{"events":[],"effects":[{"stream":"o","event":{},"x":1}]}', "unknown member `effects[1].x`" },
    { '{"events":[],"effects":[{"command":"x"}]}', "`effects[1].command` must be a list, it is text" },
    { '{"events":[],"state":{"loyalty":5}}', "`state.loyalty` must be an object, it is a number" },
    { '{"events":[],"state":{"loyalti":{"u1":null}}}', "there is no rule 'loyalti'; did you mean `loyalty`?" },
    { '{"events":[],"given":{"sate":{}}}', "unknown member `given.sate`; did you mean `state`?" },
    { '{"events":[],"letters":[null]}', '`letters[1]` must be an object such as {"reason":"schema"}, it is null' },
    { '{"events":[],"reasons":["vip"]}', '`reasons[1]` must be an object such as {"reason":"the customer is vip"}, it is text' },
    { '{"events":[],"timers":{"cart":{"u1":5}}}',
      '`timers.cart` must be a list such as [{"key":"u1","name":"remind"}], it is an object' },
    { '{"stream":"purchas","event":{}}', "no rule reads 'purchas'; did you mean `purchase`?" },
    { '{"stream":"purchase","event":{"user_id":"u","total":7}}', "a rule asked Redis, and there is no answer: HGET user:7 segment" },
    { '[1]', 'a case is an object: {"name": …}' },
  }
  for _, row in ipairs(ROWS) do
    it("are told: " .. row[1], function()
      local said = one(row[1])
      assert.equal("loyalty.cases.jsonl:1: " .. row[2], said:sub(1, 24 + #row[2] - 1))
    end)
  end

  it("of JSON are told with line and column", function()
    assert.same({ "passed", "loyalty.cases.jsonl:2:11: the text ends too early", "loyalty.cases.jsonl:3:13: invalid string in json text",
      "passed" }, run('{"events":[]}\n{"name":"a\n{"name": nul}\n{"events":[]}'))
  end)

  it("of the rules are told once", function()
    local path = folder { ["a.lua"] = "return {\n strem = 's' }", ["a.cases.jsonl"] = '{"events":[]}\n{"events":[]}\n' }
    local results = cases.run(path .. "/a.cases.jsonl")
    for _, result in ipairs(results) do
      assert.matches("a.lua:2: unknown field `strem`; did you mean `stream`?", result.sentence, 1, true)
    end
  end)

  it("a rule that stops is told", function()
    local path = folder { ["a.lua"] = "return { stream = 's', on_error = 'stop', on_event = function() error 'no' end }",
      ["a.cases.jsonl"] = '{"name":"x","stream":"s","event":{}}' }
    assert.matches("a.cases.jsonl:1: x\nevents%[1%]: not expected .*the rule stopped: rule a: error: a.lua:1: no",
      cases.text(cases.run(path .. "/a.cases.jsonl")[1]))
  end)

  it("no file, and no case, fail", function()
    assert.equal("/nowhere/a.cases.jsonl:1: cannot be read", cases.text(cases.run("/nowhere/a.cases.jsonl")[1]))
    assert.same({ "loyalty.cases.jsonl:1: holds no case" }, run("\n# nothing\n"))
  end)
end)

describe("the rules of a file of cases", function()
  local CASE = '{"stream":"purchase","event":{"user_id":"u1","total":1},"effects":[]}\n'
  local SEEN = '{"stream":"purchase","event":{"user_id":"u1","total":1},"effects":[{"stream":"seen","event":{"user_id":"u1","total":1}}]}\n'

  local function passes(list, name, options)
    local result = cases.run(folder(list) .. "/" .. name, options)[1]
    return result.is_passed or cases.text(result)
  end

  it("are the rule file of its name beside it, or in the rules folder, or all rules", function()
    assert.is_true(passes({ ["loyalty.lua"] = LOYALTY, ["rules/loyalty.lua"] = OTHER, ["loyalty.cases.jsonl"] = CASE },
      "loyalty.cases.jsonl"))
    assert.is_true(passes({ ["rules/loyalty.lua"] = LOYALTY, ["rules/other.lua"] = OTHER, ["spec/deep/loyalty.cases.jsonl"] = CASE },
      "spec/deep/loyalty.cases.jsonl"))
    assert.is_true(passes({ ["rules/loyalty.lua"] = LOYALTY, ["rules/other.lua"] = OTHER, ["spec/all.cases.jsonl"] = SEEN },
      "spec/all.cases.jsonl"))
  end)

  it("are what its first line says", function()
    local list = { ["rules/loyalty.lua"] = LOYALTY, ["rules/other.lua"] = OTHER,
      ["spec/loyalty.cases.jsonl"] = '{"rules":"../rules/other.lua"}\n' .. SEEN,
      ["spec/b.cases.jsonl"] = '// rules\n{"rules":"../rules"}\n' .. SEEN, ["spec/c.cases.jsonl"] = '{"rules":"../none"}\n' .. SEEN,
      ["spec/d.cases.jsonl"] = SEEN .. '{"rules":"../rules"}\n' }
    assert.is_true(passes(list, "spec/loyalty.cases.jsonl"))
    assert.is_true(passes(list, "spec/b.cases.jsonl"))
    assert.matches(":1: `rules`: there is nothing at .*/spec/../none %(it counts from the file's own folder%)$",
      passes(list, "spec/c.cases.jsonl"))
    assert.matches("unknown member `rules`", cases.text(cases.run(folder(list) .. "/spec/d.cases.jsonl")[2]))
  end)

  it("are what the options say", function()
    local path = folder { ["mine/other.lua"] = OTHER }
    assert.is_true(passes({ ["spec/x.cases.jsonl"] = SEEN }, "spec/x.cases.jsonl", { rules = path .. "/mine" }))
    assert.matches(":1: there are no rules at /nowhere/rules$",
      passes({ ["x.cases.jsonl"] = SEEN }, "x.cases.jsonl", { rules = "/nowhere/rules" }))
  end)

  it("are asked for when there are none", function()
    assert.matches("which rules is it for%? There is no .*/x.lua, and no folder rules/ here or above",
      passes({ ["x.cases.jsonl"] = SEEN }, "x.cases.jsonl"))
  end)

  it("have the limits of the settings", function()
    testing.settings = { limits = { effects = 1 } }
    finally(function() testing.settings = {} end)
    assert.matches("letters%[1%]: not expected .*\"reason\":\"output\"", one('{' .. SPEND .. '}'))
    testing.settings = {}
    assert.matches("letters%[1%]: not expected .*\"reason\":\"output\"", one('{' .. SPEND .. '}', { limits = { effects = 1 } }))
  end)
end)

describe("differences", function()
  local function text(expected, got, alike)
    local list = {}
    if alike then
      diff.compare_lists(list, "l", json.decode(expected, { nulls = true }), json.decode(got), alike)
    else
      diff.compare(list, "v", json.decode(expected, { nulls = true }), json.decode(got))
    end
    return diff.text(list)
  end
  local function always() return true end
  local function never() return false end

  it("are none of what is the same", function()
    for _, v in ipairs { "1", "[]", "{}", '{"a":[1,{"b":null}]}', "9007199254740993", '""', "false" } do assert.equal("", text(v, v)) end
    assert.equal("", text('{"a":null}', "{}"))
    assert.equal("", text('{"a":{"b":null,"c":1}}', '{"a":{"c":1}}'))
  end)

  it("have a path for each", function()
    assert.equal("v.a[2].b: expected 1, got 2", text('{"a":[0,{"b":1}]}', '{"a":[0,{"b":2}]}'))
    assert.equal('v["odd name"]: expected 1, got "1"', text('{"odd name":1}', '{"odd name":"1"}'))
    assert.equal("v.a: missing {\"b\":1}\nv.c: not expected [1]", text('{"a":{"b":1}}', '{"c":[1]}'))
    assert.equal("v: expected [1], got {\"a\":1}", text("[1]", '{"a":1}'))
    assert.equal("v.a: expected null, got 1", text('{"a":null}', '{"a":1}'))
    assert.equal("v.a[2]: missing 2", text('{"a":[1,2]}', '{"a":[1]}'))
    assert.equal("v: expected false, got true", text("false", "true"))
  end)

  it("of lists leave what is the same in place", function()
    assert.equal("l[1]: not expected 0", text("[1,2,3]", "[0,1,2,3]", never))
    assert.equal("l[2]: missing 2", text("[1,2,3]", "[1,3]", never))
    assert.equal("l[2]: expected 2, got 5", text("[1,2,3]", "[1,5,3]", always))
    assert.equal("l[2]: missing 2\nl[2]: not expected 5", text("[1,2,3]", "[1,5,3]", never))
    assert.equal("l[1]: expected 1, got 2\nl[2]: not expected 3", text("[1]", "[2,3]", always))
  end)

  it("are coloured when asked", function()
    local list = {}
    diff.compare(list, "v", 1, 2)
    assert.equal("v: expected \27[32m1\27[0m, got \27[31m2\27[0m", diff.text(list, true))
  end)
end)

-- In this spec of busted, so each case is an `it`.
describe("testing.cases", function()
  testing.cases "cases/loyalty.cases.jsonl"

  it("names the places that it looked at", function()
    local ok, why = pcall(testing.cases, "none.cases.jsonl")
    assert.is_false(ok)
    assert.matches("testing_cases_spec.lua:%d+: testing.cases: there is no file at\n  none.cases.jsonl\n"
      .. "  spec/unit/none.cases.jsonl\n", why)
  end)
end)
