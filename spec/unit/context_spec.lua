require "spec.support.runtime"
local codec = require "spec.support.codec"
local pack = require "tidemill.pack"
local testing = require "tidemill.testing"
local value = require "tidemill.value"

local function handler(body, options, before)
  return testing.load({ ["r.lua"] = ("local tidemill = require 'tidemill' %s\nreturn { stream = { 's', 't' }, key = 'k', "
    .. "on_event = function(event, ctx)\n%s\nend }"):format(before or "", body) }, options)
end

local function fields_of(kit)
  local list = {}
  for n, effect in ipairs(kit:effects()) do list[n] = effect.fields end
  return list
end

local function message_of(body, before, options)
  local kit = handler(body, options, before)
  kit:event("s", { k = 1 })
  local letters = kit:letters()
  assert.equal(1, #letters, body)
  assert.equal("error", letters[1].reason)
  return letters[1].message
end

describe("ctx", function()
  it("tells of the event", function()
    local kit = handler "ctx.emit('o', { id = ctx.id, stream = ctx.stream, now = ctx.now, key = ctx.key })"
    kit:event("s", { k = 7 }, { id = "1700000000000-0" })
    kit:event("t", { k = "x" }, { id = "1700000000001-12345" })
    kit:event("s", { k = 1 }, { id = 1700000000002 })
    kit:event("s", { k = 1 }, { id = "1700000000002-999999999999999" })
    assert.same({
      { id = "1700000000000-0", stream = "s", now = 1700000000000, key = "7" },
      { id = "1700000000001-12345", stream = "t", now = 1700000000001, key = "x" },
      { id = "1700000000002-0", stream = "s", now = 1700000000002, key = "1" },
      { id = "1700000000002-999999999999999", stream = "s", now = 1700000000002, key = "1" },
    }, fields_of(kit))
  end)

  it("tells of the right event behind a lookup, too", function()
    local kit = handler "local x = ctx.redis.get 'x' ctx.emit('o', { id = ctx.id, stream = ctx.stream, now = ctx.now, key = ctx.key })"
    kit:redis { ["GET x"] = "1" }
    kit:events { { "s", { k = 1 }, { id = "5-1" } }, { "t", { k = 2 }, { id = "6-2" } }, { "s", { k = 1 }, { id = "7-3" } } }
    assert.same({ { id = "5-1", stream = "s", now = 5, key = "1" }, { id = "6-2", stream = "t", now = 6, key = "2" },
      { id = "7-3", stream = "s", now = 7, key = "1" } }, fields_of(kit))
  end)

  it("has no other fields, and only its state can be written", function()
    for body, message in pairs {
      ["local x = ctx.nosuch"] = "ctx has no field 'nosuch'", ["ctx.nosuch = 1"] = "ctx.nosuch cannot be written; only ctx.state can",
      ["ctx.emit = 1"] = "ctx.emit cannot be written; only ctx.state can", ["ctx.id = 1"] = "ctx.id cannot be written; only ctx.state can",
      ["ctx[1] = 1"] = "ctx.1 cannot be written; only ctx.state can", ["ctx.log.info = 1"] = "ctx.log cannot be written",
      ["ctx.redis.x = 1"] = "ctx.redis cannot be written",
    } do
      assert.equal("r.lua:3: " .. message, message_of(body))
    end
  end)

  it("is only valid during the call", function()
    local function late(call)
      return testing.load { ["r.lua"] = ([[
        local kept
        return { stream = "s", key = function(e) if kept and e.at == "key" then %s end return 1 end,
          when = function(e) if kept and e.at == "when" then %s end return true end,
          on_event = function(e, ctx) kept = ctx ctx.emit("o", { n = 1 }) end }]]):format(call, call) }
    end
    for call, name in pairs { ["kept.emit('o', {})"] = "emit", ["kept.dead('x')"] = "dead", ["local x = kept.state"] = "state",
      ["kept.state = {}"] = "state", ["kept.redis.get('x')"] = "redis", ["kept.redis.set('x', 1)"] = "redis", ["local x = kept.id"] = "id",
      ["kept.reason('x')"] = "reason" } do
      for _, at in ipairs { "key", "when" } do
        local kit = late(call)
        kit:event("s", {})
        kit:event("s", { at = at })
        local letters = kit:letters()
        assert.equal(1, #letters, call)
        assert.matches("^r.lua:%d: ctx." .. name .. " is only valid during the call of a handler$", letters[1].message)
        assert.equal(1, #kit:effects())
        kit:event("s", {})
        assert.equal(1, #kit:effects())
      end
    end
  end)
end)

describe("ctx.emit", function()
  it("takes every value there is", function()
    local kit = handler [[
      ctx.emit("o", { s = "text", n = 1.5, i = -7, big = tidemill.int64 "9007199254740993", t = true, f = false, list = { 1, 2 }, map = {
        a = { b = 1 } },
        empty = tidemill.array {}, null = tidemill.null, e = tidemill.ext(-1, "abcd"), bytes = "\0\255", [5] = "number",
          [true] = "boolean" })]]
    kit:event("s", { k = 1 })
    local fields = fields_of(kit)[1]
    assert.equal("9007199254740993", tostring(fields.big))
    assert.equal("array", getmetatable(fields.empty))
    assert.same({ type = -1, bytes = "abcd" }, fields.e)
    fields.big, fields.empty, fields.e = nil, nil, nil
    assert.same({ s = "text", n = 1.5, i = -7, t = true, f = false, list = { 1, 2 }, map = { a = { b = 1 } }, bytes = "\0\255",
      [5] = "number",
      [true] = "boolean" }, fields)
  end)

  it("takes the table as it is at the moment", function()
    local kit = handler "local t = { n = 1 } ctx.emit('o', t) t.n = 2 ctx.emit('o', t) t.n = 3 ctx.emit('o', event)"
    kit:event("s", { k = 1, list = { 1 } })
    assert.same({ { n = 1 }, { n = 2 }, { k = 1, list = { 1 } } }, fields_of(kit))
  end)

  it("takes an empty table", function()
    local kit = handler "ctx.emit('o', {})"
    kit:event("s", { k = 1 })
    assert.same({ {} }, fields_of(kit))
  end)

  it("refuses what is no entry, at the rule's line", function()
    for body, message in pairs {
      ["ctx.emit()"] = "ctx.emit(stream, table): the stream must be a name, it is a nil",
      ["ctx.emit({})"] = "ctx.emit(stream, table): the stream must be a name, it is a table",
      ["ctx.emit(5, {})"] = "ctx.emit(stream, table): the stream must be a name, it is a number",
      ["ctx.emit('', {})"] = "ctx.emit(stream, table): the stream's name is empty",
      ["ctx.emit('tidemill:x', {})"] = "ctx.emit: 'tidemill:x': keys that start with tidemill: are the engine's own",
      ["ctx.emit('tidemill:{x}:g:ctl', {})"] = "ctx.emit: 'tidemill:{x}:g:ctl': keys that start with tidemill: are the engine's own",
      ["ctx.emit('o')"] = 'ctx.emit("o", table): what is emitted must be a table, it is a nil',
      ["ctx.emit('o', 'x')"] = 'ctx.emit("o", table): what is emitted must be a table, it is a string',
      ["ctx.emit('o', { 1, 2 })"] = 'ctx.emit("o", ...): the table must have named fields, it is an array',
      ["ctx.emit('o', tidemill.array {})"] = 'ctx.emit("o", ...): the table must have named fields, it is an array',
      ["ctx.emit('o', tidemill.ext(1, 'x'))"] = 'ctx.emit("o", ...): the table must have named fields, it is an array',
      ["ctx.emit('o', { f = print })"] = 'ctx.emit("o", ...): the table cannot be encoded: it holds a function',
      ["ctx.emit('o', { [{}] = 1 })"] = 'ctx.emit("o", ...): the table cannot be encoded: it has a table as a key',
      ["ctx.emit('o', { x = { { y = coroutine.create(print) } } })"] = 'ctx.emit("o", ...): the table cannot be encoded: it holds a thread',
      ["local t = {} t.t = t ctx.emit('o', t)"] =
        'ctx.emit("o", ...): the table cannot be encoded: it is nested deeper than 32 (or holds itself)',
      ["local t = {} t[1] = t ctx.emit('o', { t = t })"] =
        'ctx.emit("o", ...): the table cannot be encoded: it is nested deeper than 32 (or holds itself)',
    } do
      assert.equal("r.lua:3: " .. message, message_of(body))
    end
    assert.equal("r.lua:4: ctx.emit(\"o\", table): what is emitted must be a table, it is a number",
      message_of "local function f() return ctx.emit('o', 5) end\nf()") -- a tail call: the line that called f
  end)

  it("names the caller when the rule's frame is gone", function()
    assert.equal("ctx.emit(\"o\", table): what is emitted must be a table, it is a number", message_of "return ctx.emit('o', 5)")
  end)

  it("writes as the outputs say", function()
    local kit = handler("ctx.emit('plain', { n = 1 }) ctx.emit('short', { n = 2 })", { outputs = { short = { maxlen = 1000 } } })
    local commands = {}
    kit.on_effect = function(_, argv) commands[#commands + 1] = argv end
    kit:event("s", { k = 1 })
    assert.same({ "XADD", "plain", "*", "data", codec.hex "81 a16e 01" }, commands[1])
    assert.same({ "XADD", "short", "MAXLEN", "~", "1000", "*", "data", codec.hex "81 a16e 02" }, commands[2])
  end)

  it("keeps no memory of streams without end", function()
    local kit = handler "for i = event.from, event.from + 999 do ctx.emit('user:' .. i, { i = i }) end"
    for from = 1, 30001, 1000 do kit:event("s", { k = 1, from = from }) end
    local effects = kit:effects()
    assert.equal(31000, #effects)
    for n, effect in ipairs(effects) do assert.is_true(effect.stream == "user:" .. n and effect.fields.i == n) end
    collectgarbage() collectgarbage()
    local before = collectgarbage "count"
    for from = 40001, 60001, 1000 do
      kit:event("s", { k = 1, from = from })
      kit:effects()
    end
    collectgarbage() collectgarbage()
    assert.is_true(collectgarbage "count" - before < 2000)
  end)
end)

describe("ctx.redis", function()
  it("writes are effects, and return nothing", function()
    local kit = handler [[
      local r = ctx.redis
      local n = select("#", r.set("a", 1))
      r.hset("h", "f", 1.5, "g", tidemill.int64 "9007199254740993")
      r.SADD("s:" .. event.k, "\0 x", "")
      r.publish("news", "text")
      r.zadd("z", 2^53, "m")
      ctx.emit("o", { n = n })]]
    kit:event("s", { k = 1 })
    assert.same({
      { command = { "SET", "a", "1" } }, { command = { "HSET", "h", "f", "1.5", "g", "9007199254740993" } },
      { command = { "SADD", "s:1", "\0 x", "" } }, { command = { "PUBLISH", "news", "text" } },
      { command = { "ZADD", "z", "9007199254740992", "m" } }, { stream = "o", fields = { n = 0 } },
    }, kit:effects())
  end)

  it("XADD by hand stays a command unless it looks like an emit", function()
    local kit = handler "ctx.redis.xadd('o', '*', 'a', 1, 'b', 2) ctx.redis.xadd('o', 'MAXLEN', '~', 10, '*', 'data', 'text')"
    kit:event("s", { k = 1 })
    assert.same({ { command = { "XADD", "o", "*", "a", "1", "b", "2" } },
      { command = { "XADD", "o", "MAXLEN", "~", "10", "*", "data", "text" } } }, kit:effects())
    local bytes = pack.string { a = 1 }
    kit = handler("ctx.redis.xadd('o', '*', 'data', event.bytes)")
    kit:event("s", { k = 1, bytes = bytes })
    assert.same({ { stream = "o", fields = { a = 1 } } }, kit:effects())
  end)
end)

describe("ctx.log and ctx.reason", function()
  it("take anything", function()
    local kit = handler [[
      ctx.log.debug("a", 1, nil, true)
      ctx.log.info()
      ctx.log.warn(setmetatable({}, { __tostring = function() return "own" end }), tidemill.null, tidemill.int64 "5")
      ctx.log.error(setmetatable({}, { __tostring = function() return {} end }))
      ctx.reason("why")
      ctx.reason(5)
      print("printed", event.k)]]
    kit:event("s", { k = 1 }, { id = "9-9" })
    assert.same({}, kit:letters())
    assert.same({
      { level = "debug", rule = "r", text = "a 1 nil true" }, { level = "info", rule = "r", text = "" },
      { level = "warn", rule = "r", text = "own null 5" }, { level = "error", rule = "r", text = "(a table)" },
      { level = "info", rule = "r", text = "printed 1" },
    }, kit:logs())
    assert.same({ { rule = "r", id = "9-9", reason = "why" }, { rule = "r", id = "9-9", reason = "5" } }, kit:reasons())
  end)
end)

describe("tidemill, the module", function()
  it("gives rules what they need", function()
    local kit = handler [[
      assert(tidemill.is_null(tidemill.null) and not tidemill.is_null(nil))
      assert(tidemill.is_int64(tidemill.int64 "5") and not tidemill.is_int64(5))
      assert(tidemill.duration "30m" == 1800000 and tidemill.duration(5) == 5)
      local ok, why = pcall(tidemill.duration, "x")
      assert(not ok and why:find "is no duration")
      assert(getmetatable(tidemill.array { 1 }) == "array" and tidemill.ext(1, "x").bytes == "x")
      ctx.emit("o", { ok = true })]]
    kit:event("s", { k = 1 })
    assert.same({ { ok = true } }, fields_of(kit))
    assert.equal("12", value.key_text(value.int64 "12"))
  end)
end)
