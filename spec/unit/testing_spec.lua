-- The test kit itself.
local runtime = require "spec.support.runtime"
local files = require "spec.support.files"
local testing = require "tidemill.testing"
local value = require "tidemill.value"
assert(runtime)

local ECHO = "return { stream = 's', key = 'k', on_event = function(event, ctx) ctx.emit('o', event) "
  .. "ctx.state.n = (ctx.state.n or 0) + 1 end }"

-- The message of an error, without its place.
local function refusal(f, ...)
  local ok, why = pcall(f, ...)
  assert.is_false(ok)
  return (tostring(why):gsub("^[^\n]-:%d+: ", ""))
end

describe("testing.load", function()
  local folder = files.folder_with

  it("passes over specs that lie beside their rules, and reads schemas", function()
    local rule = 'return { stream = "s", event = require "schemas.deep.o", on_event = function() end }'
    local path = folder { ["a.lua"] = rule, ["a_spec.lua"] = "error 'no rule'", ["schemas/deep/o.lua"] =
      'return require("tidemill").schema { event = { n = "number" } }' }
    for _, what in ipairs { path, path .. "/a.lua" } do
      local kit = testing.load(what)
      assert.equal(1, #kit.rules)
      kit:event("s", {})
      assert.equal("schema", kit:letters()[1].reason)
    end
  end)

  it("takes a file, with the lib beside it", function()
    local path = folder { ["a.lua"] = "local l = require 'lib.deep.l' " .. ECHO, ["b.lua"] = "broken", ["lib/deep/l.lua"] = "return 1" }
    local kit = testing.load(path .. "/a.lua")
    assert.equal(1, #kit.rules)
    assert.equal("a", kit.rules[1].name)
  end)

  it("takes a folder", function()
    local path = folder { ["a.lua"] = ECHO, ["b.lua"] = "local l = require 'lib.l' " .. ECHO, ["lib/l.lua"] = "return 1",
      ["notes.txt"] = "x",
      ["other/c.lua"] = "broken", [".hidden.lua"] = "broken" }
    assert.equal(2, #testing.load(path).rules)
    assert.equal(2, #testing.load(path .. "/").rules)
  end)

  it("takes a path with odd letters", function()
    local path = folder { ["it's odd/a.lua"] = ECHO }
    assert.equal(1, #testing.load(path .. "/it's odd").rules)
    assert.equal(1, #testing.load(path .. "/it's odd/a.lua").rules)
  end)

  it("looks a path up from the current folder, from that of the command, and upwards from the spec", function()
    local paths = require "tidemill.testing_paths"
    local project = folder { ["rules/a.lua"] = ECHO, ["spec/b.lua"] = ECHO,
      ["spec/deep/x_spec.lua"] = "local kit = (...).load 'rules/a.lua' return kit",
      ["spec/deep/y_spec.lua"] = "local kit = (...).load 'b.lua' return kit",
      ["spec/deep/z_spec.lua"] = "local kit = (...).load 'none.lua' return kit",
      ["spec/deep/f_spec.lua"] = "local kit = (...).load 'rules' return kit" }
    local function run(name) return assert(loadfile(project .. "/spec/deep/" .. name))(testing) end
    assert.equal("a", run("x_spec.lua").rules[1].name)
    assert.equal("b", run("y_spec.lua").rules[1].name)
    assert.equal("a", run("f_spec.lua").rules[1].name)
    local ok, why = pcall(run, "z_spec.lua")
    assert.is_false(ok)
    assert.equal("testing.load: there is no rule file at none.lua; looked at\n  none.lua\n  " .. table.concat({ project .. "/spec/deep",
      project .. "/spec", project, "/tmp", "" }, "/none.lua\n  ") .. "/none.lua", (why:gsub("^.-:%d+: ", "")))
    assert.matches("spec/deep/z_spec.lua:1: ", why, 1, true)
    assert.is_false((pcall(testing.load, "rules/a.lua")))
    paths.root = project
    finally(function() paths.root = nil end)
    assert.equal("a", testing.load("rules/a.lua").rules[1].name)
  end)

  it("says what is not there", function()
    assert.equal("testing.load: there is no rule file at /nowhere/a.lua", refusal(testing.load, "/nowhere/a.lua"))
    assert.equal("testing.load: there are no rules at /nowhere", refusal(testing.load, "/nowhere"))
    assert.equal("testing.load: expects a path, or a table of texts by file name", refusal(testing.load, 5))
  end)

  it("tells all mistakes of the rules", function()
    local why = refusal(testing.load, { ["a.lua"] = "return {\n strem = 's',\n key = 5 }" })
    assert.matches("^the rules have mistakes:\n", why)
    for _, line in ipairs { "a.lua:1: `on_event` is missing", "a.lua:1: `stream` is missing",
      "a.lua:2: unknown field `strem`; did you mean `stream`?",
      "a.lua:3: `key` must be the name of a field or a function, it is a number" } do
      assert.truthy(why:find("\n" .. line, 1, true), line)
    end
  end)

  it("tells a mistake once that several rules have from one schema", function()
    local rule = "return { stream = 's', event = require 'schemas.a', on_event = function() end }"
    local why = refusal(testing.load, { ["a.lua"] = rule, ["b.lua"] = rule, ["schemas/a.lua"] = "return { a = { 'string', x = 1 } }" })
    assert.equal("the rules have mistakes:\nschemas/a.lua:1: unknown attribute `x` of `event.a`; known are optional, default, enum, "
      .. "renamed, fields, list\n"
      .. "    1 | return { a = { 'string', x = 1 } }\n      |                          ^", why)
  end)

  it("shows the line of a mistake with a caret under the word, behind tabs and letters of several bytes, too", function()
    local why = refusal(testing.load, { ["a.lua"] = "local s = 's'\nreturn { stream = 'ü',\tstrem = s, on_event = print }" })
    assert.equal("the rules have mistakes:\na.lua:2: unknown field `strem`; did you mean `stream`?\n"
      .. "    2 | return { stream = 'ü',\tstrem = s, on_event = print }\n"
      .. "      |                       \t^^^^^", why)
  end)

  it("gives the warnings that check would give", function()
    local kit = testing.load { ["a.lua"] = "local n = 0 return { stream = 's', on_event = function()\n n = n + 1 end }" }
    assert.same({ "a.lua", 2 }, { kit.warnings[1].file, kit.warnings[1].line })
  end)

  it("knows its options", function()
    assert.equal("testing.load: unknown option `limts`; did you mean `limits`?", refusal(testing.load, { ["a.lua"] = ECHO }, {
      limts = {} }))
    assert.equal("testing.load: unknown limit `effect`; did you mean `effects`?",
      refusal(testing.load, { ["a.lua"] = ECHO }, { limits = { effect = 5 } }))
    assert.equal(5, testing.load({ ["a.lua"] = ECHO }, { limits = { effects = 5, rule_ms = 10 } }).host.limits.effects)
    local lists = { ["a.lua"] = "return { stream = { 'a', 'b' }, on_event = print }" }
    assert.equal(1, #testing.load(lists).rules)
    assert.matches("different partitions", refusal(testing.load, lists, { partition = "stream" }))
    assert.equal("5000-0", testing.load({ ["a.lua"] = ECHO }, { start_ms = 5000 }):event("s", { k = 1 }))
  end)

  it("keeps kits apart", function()
    local one, two = testing.load { ["a.lua"] = ECHO }, testing.load { ["a.lua"] = ECHO }
    one:event("s", { k = 1 })
    assert.is_nil(two:state("a", 1))
    assert.same({}, two:effects())
    two:event("s", { k = 1 })
    one:event("s", { k = 1 })
    assert.same({ n = 2 }, one:state("a", 1))
  end)

  it("logs what a file prints while it is loaded", function()
    local kit = testing.load { ["a.lua"] = "print('loading', 1) " .. ECHO }
    assert.same({ { level = "info", rule = "a", text = "loading 1" } }, kit:logs())
    assert.same({}, kit:logs())
  end)
end)

describe("kit:event", function()
  local kit
  before_each(function() kit = testing.load { ["a.lua"] = ECHO } end)

  it("gives IDs that rise by themselves, the same every time", function()
    assert.equal("1700000000000-0", kit:event("s", { k = 1 }))
    assert.equal("1700000000001-0", kit:event("s", { k = 1 }))
    assert.equal("1700000000100-5", kit:event("s", { k = 1 }, { id = "1700000000100-5" }))
    assert.equal("1700000000101-0", kit:event("s", { k = 1 }))
    kit:advance "1s"
    assert.equal("1700000001102-0", kit:event("s", { k = 1 }))
    kit:advance(5)
    assert.equal("1700000001108-0", kit:event("s", { k = 1 }))
    assert.equal("'x' is no duration", refusal(kit.advance, kit, "x"):match "'x' is no duration")
  end)

  it("takes any ID that is higher than the last of its stream", function()
    kit:event("s", { k = 1 }, { id = 5 })
    kit:event("s", { k = 1 }, { id = "5-1" })
    kit:event("s", { k = 1 }, { id = "6" })
    for _, id in ipairs { 5, "6-0", "5-9" } do
      assert.matches("^kit:event: the ID .- is not above 6%-0, the last one of 's'$", refusal(kit.event, kit, "s", { k = 1 }, { id = id }))
    end
    for _, id in ipairs { "x", "5-x", "-5", "", {}, "1-2-3" } do
      assert.matches("is no entry ID such as", refusal(kit.event, kit, "s", { k = 1 }, { id = id }))
    end
  end)

  it("refuses what cannot be an event", function()
    for _, case in ipairs {
      { { "t", { k = 1 } }, "kit:event: no rule reads 't'; did you mean `s`?" }, { { "elsewhere", {} },
        "kit:event: no rule reads 'elsewhere'; known are s" },
      { { 5, {} }, "kit:event(stream, fields): stream must be a name, it is a number" },
      { { "s", 5 }, 'kit:event("s", fields): fields must be a table, it is a number' },
      { { "s" }, 'kit:event("s", fields): fields must be a table, it is a nil' },
      { { "s", { 1, 2 } }, 'kit:event("s", fields): an event has named fields; this is an array' },
      { { "s", { f = print } }, 'kit:event("s", fields): this cannot be an event: it holds a function' },
      { { "s", { k = { 1 } }, { codec = "fields" } }, "kit:event: plain fields are text; 'k' is none" },
      { { "s", { k = 1 }, { only = "b" } }, "kit:event: there is no rule 'b'" },
      { { "s", { k = 1 }, { ids = 5 } }, "kit:event: unknown option `ids`; did you mean `id`?" },
    } do
      assert.equal(case[2], refusal(kit.event, kit, unpack(case[1])))
    end
    assert.same({}, kit:effects())
  end)

  it("blames the spec's line", function()
    local ok, why = pcall(function() kit:event("nowhere", {}) end)
    assert.is_false(ok)
    assert.matches("spec/unit/testing_spec.lua:%d+: kit:event: no rule reads", why)
  end)

  it("takes raw values as an entry has them", function()
    kit:event("s", "\130\161k\1\161x\204\255")
    kit:event("s", "plain text") -- an entry of plain fields then: { data = "plain text" }, and no key
    assert.same({ { stream = "o", fields = { k = 1, x = 255 } } }, kit:effects())
    assert.equal("key", kit:letters()[1].reason)
  end)

  it("takes raw JSON, and makes a dead letter of what is none, as the engine does", function()
    kit:event("s", '{"k":1,"big":9007199254740993,"list":[null,[]],"none":null}')
    local fields = kit:effects()[1].fields
    assert.same({ 1, "9007199254740993" }, { fields.k, tostring(fields.big) })
    assert.is_true(value.is_null(fields.list[1]))
    assert.equal("array", getmetatable(fields.list[2]))
    assert.is_nil(fields.none)
    for _, case in ipairs { { '{"k":', "JSON: at byte 5: the text ends too early" },
      { "{k:1}", "JSON: at byte 1: invalid char in json text" },
      { '{"k":[[[]]]}', "JSON: at byte 7: nested deeper than 3" } } do
      kit = testing.load({ ["a.lua"] = ECHO }, { limits = { event_depth = 3 } })
      kit:event("s", case[1])
      local letter = kit:letters()[1]
      assert.same({ "decode", case[2], "" }, { letter.reason, letter.message, letter.rule })
      assert.same({}, kit:effects())
    end
  end)

  it("takes plain fields as text", function()
    kit:event("s", { k = 5, n = 1.5, b = true, big = value.int64 "9007199254740993" }, { codec = "fields" })
    assert.same({ k = "5", n = "1.5", b = "true", big = "9007199254740993" }, kit:effects()[1].fields)
  end)

  it("keeps nothing of what the spec gave", function()
    local event = { k = 1, list = { 1 } }
    kit:event("s", event)
    event.list[1] = 2
    kit:event("s", event)
    local effects = kit:effects()
    assert.same({ 1 }, effects[1].fields.list)
    assert.same({ 2 }, effects[2].fields.list)
  end)
end)

describe("kit:events", function()
  it("takes a stream and a list, or a list of both", function()
    local kit = testing.load {
      ["a.lua"] = "return { stream = { 's', 't' }, on_event = function(e, ctx) ctx.emit('o', { n = e.n, s = ctx.stream, "
        .. "id = ctx.id }) end }" }
    assert.equal(2, kit:events("s", { { n = 1 }, { n = 2 } }))
    assert.equal(2, kit:events { { "t", { n = 3 } }, { "s", { n = 4 }, { id = "1700000001000-1" } } })
    assert.equal(0, kit:events("s", {}))
    assert.equal(0, kit:events {})
    local list = {}
    for n, effect in ipairs(kit:effects()) do list[n] = effect.fields.n .. effect.fields.s .. effect.fields.id:sub(-6) end
    assert.same({ "1s0000-0", "2s0001-0", "3t0002-0", "4s1000-1" }, list)
  end)

  it("runs batches no larger than asked for", function()
    local kit = testing.load({ ["a.lua"] = ECHO }, { batch_events = 4 })
    local sizes, begin = {}, kit.host.put_batch
    kit.host.put_batch = function(self, items, first, last)
      sizes[#sizes + 1] = last - first + 1
      return begin(self, items, first, last)
    end
    local events = {}
    for n = 1, 10 do events[n] = { k = n } end
    kit:events("s", events)
    assert.same({ 4, 4, 2 }, sizes)
  end)
end)

describe("what came of it", function()
  it("is taken by asking for it", function()
    local kit = testing.load {
      ["a.lua"] = "return { stream = 's', on_event = function(e, ctx) ctx.emit('o', {}) ctx.log.info('x') ctx.reason('y') "
      .. "if e.fail then error 'z' end end }" }
    kit:event("s", {})
    kit:event("s", { fail = true })
    for _, what in ipairs { "effects", "letters", "logs", "reasons" } do
      assert.is_true(#kit[what](kit) > 0, what)
      assert.same({}, kit[what](kit))
    end
  end)

  it("tells of letters what the engine would", function()
    local kit = testing.load { ["a.lua"] = "return { stream = 's', key = 'k', on_event = function(e, ctx)\nerror 'z' end }" }
    kit:event("s", { k = 7 }, { id = "5-6" })
    kit:event("s", { k = 7 }, { id = "6-0", attempts = 3 })
    local letters = kit:letters()
    assert.same({ reason = "error", message = "a.lua:2: z", traceback = "a.lua:2: in on_event", rule = "a",
      version = kit.rules[1].version, stream = "s",
      id = "5-6", key = "7", attempts = 1 }, letters[1])
    assert.equal(4, letters[2].attempts)
  end)
end)

describe("kit:state", function()
  local kit
  before_each(function()
    kit = testing.load { ["a.lua"] = "return { stream = 's', key = 'k', state = { ttl = '10s' }, on_event = function(e, ctx) "
      .. "ctx.emit('o', { n = ctx.state.n }) if e.n then ctx.state = { n = e.n, list = { 1 } } end end }", ["b.lua"] = ECHO }
  end)

  it("reads and sets it", function()
    assert.is_nil(kit:state("a", 1))
    kit:set_state("a", 1, { n = 5, list = { value.null }, deep = { x = { y = "z" } } })
    assert.same({ x = { y = "z" } }, kit:state("a", "1").deep)
    kit:event("s", { k = 1 })
    assert.same({ { n = 5 } }, { kit:effects()[1].fields })
    kit:set_state("a", 1, { n = 6 })
    kit:event("s", { k = 1, n = 7 })
    assert.same({ n = 6 }, kit:effects()[1].fields)
    assert.same({ n = 7, list = { 1 } }, kit:state("a", 1))
    kit:set_state("a", 1, nil)
    assert.is_nil(kit:state("a", 1))
    kit:event("s", { k = 1 })
    assert.same({}, kit:effects()[1].fields)
  end)

  it("expires as in the engine", function()
    kit:set_state("a", 1, { n = 5 })
    kit:advance "9s"
    kit:event("s", { k = 1 })
    kit:advance "2s"
    kit:event("s", { k = 2 })
    assert.is_nil(kit:state("a", 1))
    kit:event("s", { k = 1 })
    local seen = {}
    for _, effect in ipairs(kit:effects()) do if effect.fields.k == nil then seen[#seen + 1] = effect.fields.n or "none" end end
    assert.same({ 5, "none", "none" }, seen)
    assert.same({ n = 2 }, kit:state("b", 1)) -- no ttl
  end)

  it("is of the rule's own version unless another is given", function()
    kit = testing.load { ["a.lua"] = "return { stream = 's', key = 'k', state = { version = 3, migrate = function(old, from) "
      .. "return { n = old.n, from = from } end }, on_event = function(e, ctx) ctx.emit('o', ctx.state) end }", ["b.lua"] = ECHO }
    kit:set_state("a", 1, { n = 5 })
    kit:set_state("a", 2, { n = 5 }, { version = 2 })
    assert.same({ 3, 2 }, { kit:state_version("a", 1), kit:state_version("a", 2) })
    assert.same({ n = 5 }, kit:state("a", 2)) -- nobody has looked at it yet
    kit:events("s", { { k = 1 }, { k = 2 }, { k = 3 } })
    assert.same({ 3, 3 }, { kit:state_version("a", 1), kit:state_version("a", 2) })
    assert.same({ { n = 5 }, { n = 5, from = 2 } }, { kit:state("a", 1), kit:state("a", 2) })
    assert.is_nil(kit:state_version("a", 3))
    assert.equal(1, kit:state_version("b", 3))
    for _, version in ipairs { 0, 1.5, 2 ^ 31, "1" } do
      assert.equal("kit:set_state: a version is a whole number from 1 on, this is " .. version,
        refusal(kit.set_state, kit, "a", 1, {}, { version = version }))
    end
    assert.equal("kit:set_state: unknown option `verson`; did you mean `version`?", refusal(kit.set_state, kit, "a", 1, {}, { verson = 1 }))
  end)

  it("gives a copy", function()
    kit:set_state("a", 1, { n = 5 })
    kit:state("a", 1).n = 6
    assert.same({ n = 5 }, kit:state("a", 1))
  end)

  it("refuses nonsense", function()
    assert.equal("there is no rule 'x'; did you mean `a`?", refusal(kit.state, kit, "x", 1))
    assert.equal("there is no rule 'elsewhere'; known are a, b", refusal(kit.set_state, kit, "elsewhere", 1, {}))
    assert.equal("a key must be a string or a number, it is a table", refusal(kit.state, kit, "a", {}))
    assert.equal("kit:set_state: a state is a table, this is a number", refusal(kit.set_state, kit, "a", 1, 5))
    assert.equal("kit:set_state: this cannot be kept as a state: it holds a function", refusal(kit.set_state, kit, "a", 1, { print }))
  end)
end)

describe("kit:redis", function()
  local kit
  before_each(function()
    kit = testing.load { ["a.lua"] = [[return { stream = "s", key = "k", on_event = function(e, ctx)
      ctx.state.n = (ctx.state.n or 0) + 1
      local v = ctx.redis[e.name](unpack(e.args))
      ctx.emit("o", { v = v, type = type(v) })
    end }]] }
  end)

  local function ask(answers, name, ...)
    kit:redis(answers)
    kit:event("s", { k = 1, name = name, args = value.array { ... } })
    local effect = kit:effects()[1]
    return effect and effect.fields.v, effect and effect.fields.type
  end

  it("takes a function", function()
    assert.equal("get a", ask(function(argv) return table.concat(argv, " "):lower() end, "get", "a"))
    assert.same({ nil, "nil" }, { ask(function() return nil end, "get", "a") })
    assert.same({ nil, "nil" }, { ask(function() return testing.null end, "get", "a") })
    assert.same({ a = "1" }, ask(function() return { a = 1 } end, "hgetall", "h"))
  end)

  it("takes a table by command", function()
    local answers = { ["GET a"] = "1", ["hget h f"] = "2", ["HGETALL h"] = { x = 1, y = true }, ["HGETALL flat"] = { "x", "1" },
      ["LRANGE l 0 -1"] = { 1, 2 },
      ["EXISTS a"] = 1, ["GET n"] = testing.null, ["SMEMBERS s"] = {} }
    assert.equal("1", ask(answers, "get", "a"))
    assert.equal("2", ask(answers, "hget", "h", "f"))
    assert.same({ x = "1" }, ask(answers, "hgetall", "flat"))
    assert.same({ "1", "2" }, ask(answers, "lrange", "l", 0, -1))
    assert.same({ 1, "number" }, { ask(answers, "exists", "a") })
    assert.same({ nil, "nil" }, { ask(answers, "get", "n") })
    assert.same({}, ask(answers, "smembers", "s"))
  end)

  it("gives numbers as the text that Redis keeps", function()
    assert.same({ "5", "string" }, { ask(function() return 5 end, "get", "a") })
    assert.same({ 5, "number" }, { ask(function() return 5 end, "strlen", "a") })
    assert.equal("1.5", ask(function() return 1.5 end, "zscore", "z", "m"))
  end)

  it("answers with errors", function()
    assert.is_nil(ask(function() return testing.refusal "ERR no" end, "get", "a"))
    local letter = kit:letters()[1]
    assert.equal("a.lua:3: ctx.redis.get: ERR no", letter.message)
  end)

  it("fails the spec, with the command, when there is no answer", function()
    for _, answers in ipairs { function() end, { ["GET b"] = "1" }, {} } do
      assert.equal("a rule asked Redis, and there is no answer: GET a  (give one with kit:redis, or in the case's `redis`)",
        refusal(ask, answers, "get", "a"))
    end
    kit:redis(nil)
    assert.matches("no answer: GET a", refusal(kit.event, kit, "s", { k = 1, name = "get", args = { "a" } }))
    assert.same({}, kit:letters())
    assert.is_nil(kit:state("a", 1)) -- the event has not happened
    assert.equal("1", ask({ ["GET a"] = "1" }, "get", "a"))
    assert.same({ n = 1 }, kit:state("a", 1))
    assert.equal("kit:redis: expects a function or a table of answers, got a string", refusal(kit.redis, kit, "x"))
  end)

  it("lets errors of the spec's own function through", function()
    local mark = {}
    kit:redis(function() error(mark) end)
    local ok, err = pcall(kit.event, kit, "s", { k = 1, name = "get", args = { "a" } })
    assert.is_false(ok)
    assert.equal(mark, err)
    assert.equal("1", ask({ ["GET a"] = "1" }, "get", "a"))
  end)

  it("cannot be used to give events while a rule waits", function()
    kit:redis(function()
      kit:event("s", { k = 2, name = "get", args = { "b" } })
      return "1"
    end)
    local ok, why = pcall(kit.event, kit, "s", { k = 1, name = "get", args = { "a" } })
    assert.is_false(ok)
    assert.matches("cannot be called while", why)
  end)
end)

describe("the kit's commands", function()
  local commands = require "tidemill.testing_commands"

  -- The engine asks Redis; the kit has a table. They must agree, on this Redis at least.
  it("are as a real Redis describes them", function()
    local redis = require "spec.support.redis"
    local server = redis.start()
    finally(function() server:stop() end)
    for name, row in pairs(commands.TABLE) do
      local info = server:call("COMMAND", "INFO", name)[1]
      assert.is_table(info, name)
      if row.kind ~= "refused" then
        local flags = {}
        for _, flag in ipairs(info[3]) do flags[flag] = true end
        assert.equal(row.arity, info[2], name)
        assert.same({ row.first, row.last, row.step }, { info[4], info[5], info[6] }, name)
        assert.equal(row.kind == "write", flags.write == true or name == "PUBLISH", name)
        assert.is_nil(flags.admin or flags.blocking or flags.noscript or flags.movablekeys, name)
      end
    end
  end)

  it("have their keys found", function()
    local function keys(...)
      local kind, list = commands.check({ ... }, function() return false end)
      return kind, list
    end
    for _, case in ipairs { { { "GET", "a" }, "read", { "a" } }, { { "MGET", "a", "b", "c" }, "read", { "a", "b", "c" } },
      { { "MSET", "a", "1", "b", "2" }, "write", { "a", "b" } }, { { "RENAME", "a", "b" }, "write", { "a", "b" } }, { { "DBSIZE" },
        "read", {} },
      { { "PUBLISH", "c", "m" }, "write", {} }, { { "HSET", "h", "f", "v" }, "write", { "h" } }, { { "DEL", "a" }, "write", { "a" } } } do
      assert.same({ case[2], case[3] }, { keys(unpack(case[1])) })
    end
  end)
end)
