require "spec.support.runtime"
local codec = require "spec.support.codec"
local testing = require "tidemill.testing"
local value = require "tidemill.value"

-- A kit with one rule `r` that reads `s`; `lines` are the other fields of its table.
local function rule(lines, options, before)
  return testing.load({ ["r.lua"] = ("local tidemill = require 'tidemill'\n%s\nreturn tidemill.rule { stream = 's', %s }")
    :format(before or "", lines) }, options)
end

local function handler(body, options, before) return rule("key = 'k', on_event = function(event, ctx) " .. body .. " end", options,
  before) end

-- The fields of what was emitted, each as emitted.
local function emitted(kit)
  local list = {}
  for n, effect in ipairs(kit:effects()) do list[n] = effect.fields end
  return list
end

local function letter(kit)
  local letters = kit:letters()
  assert.equal(1, #letters)
  return letters[1]
end

local function reasons(kit)
  local list = {}
  for n, one in ipairs(kit:letters()) do list[n] = one.reason end
  return list
end

describe("the order of checks", function()
  it("is when, schema, key", function()
    local kit = rule [[when = { t = "x" }, event = { n = "number" }, key = "k", on_event = function(event, ctx) ctx.emit("o", event) end]]
    kit:event("s", { t = "y", n = "no number" }) -- not for this rule: nothing is wrong
    assert.same({}, kit:letters())
    kit:event("s", { t = "x", n = "no number" })
    assert.same({ "schema", "" }, { kit:letters()[1].reason, "" })
    kit:event("s", { t = "x", n = 1 })
    assert.equal("key", letter(kit).reason)
    kit:event("s", { t = "x", n = 1, k = 1 })
    assert.equal(1, #kit:effects())
  end)

  it("lets `when` be a function, and the schema convert before the key is taken", function()
    local kit = rule [[when = function(e) return e.n > 1 end, event = { k = "integer" }, key = "k",
      on_event = function(event, ctx) ctx.emit("o", { key = ctx.key, k = event.k }) end]]
    kit:event("s", { n = 1, k = "x" })
    kit:event("s", { n = 2, k = 5 })
    assert.same({ { key = "5", k = 5 } }, emitted(kit))
    kit = rule [[event = { k = "integer" }, key = "k", on_event = function(event, ctx) ctx.emit("o", { key = ctx.key, k = event.k }) end]]
    kit:event("s", { k = "007" }, { codec = "fields" })
    assert.same({ { key = "7", k = 7 } }, emitted(kit))
  end)

  it("matches `when` against plain fields as they are", function()
    local kit = rule [[when = { n = 5 }, event = { n = "integer" }, on_event = function(event, ctx) ctx.emit("o", event) end]]
    kit:event("s", { n = "5" }, { codec = "fields" }) -- before the schema has made a number of it
    kit:event("s", { n = 5 })
    assert.equal(1, #kit:effects())
  end)

  it("puts errors of `when` and `key` down to the rule, with the line", function()
    local kit = rule [[
      when = function(e)
        return e.x.y end,
      on_event = print]]
    kit:event("s", { a = 1 })
    local one = letter(kit)
    assert.same({ "error", "r.lua:4: attempt to index field 'x' (a nil value)", "r.lua:4: in when", "" },
      { one.reason, one.message, one.traceback, one.key })
    kit = rule "key = function(e) error 'no key' end, on_event = print"
    kit:event("s", { a = 1 })
    one = letter(kit)
    assert.same({ "r.lua:3: no key", "r.lua:3: in key" }, { one.message, one.traceback })
  end)
end)

describe("keys", function()
  it("are text; numbers in decimal", function()
    local kit = handler "ctx.emit('o', { key = ctx.key })"
    for _, k in ipairs { "x", "", 7, -7, 1.5, 2 ^ 53, 1e15, value.int64 "9007199254740993", value.int64 "18446744073709551615" } do
      kit:event("s", { k = k })
    end
    local keys = {}
    for n, fields in ipairs(emitted(kit)) do keys[n] = fields.key end
    assert.same({ "x", "", "7", "-7", "1.5", "9007199254740992", "1000000000000000", "9007199254740993", "18446744073709551615" }, keys)
    assert.same({}, kit:letters())
  end)

  it("that are none go to the dead letters", function()
    local kit = handler ""
    for _, case in ipairs { { {}, "the key 'k' is missing" }, { { k = true }, "the key 'k' must be a string or a number, it is a boolean" },
      { { k = { 1 } }, "the key 'k' must be a string or a number, it is a table" } } do
      kit:event("s", case[1])
      local one = letter(kit)
      assert.same({ "key", case[2], "", "" }, { one.reason, one.message, one.key, one.traceback })
    end
    kit = rule "key = function(e) return e.k end, on_event = print"
    kit:event("s", { x = 1 })
    assert.equal("the key 'key(event)' is missing", letter(kit).message)
    kit:event("s", { k = 0 / 0 })
    assert.equal("key", letter(kit).reason)
  end)

  it("keep numbers and their text together", function()
    local kit = handler "ctx.state.n = (ctx.state.n or 0) + 1"
    kit:events("s", { { k = 5 }, { k = "5" }, { k = 5 } })
    assert.same({ n = 3 }, kit:state("r", "5"))
    assert.same({ n = 3 }, kit:state("r", 5))
  end)

  it("are all the same without `key`", function()
    local kit = rule "on_event = function(event, ctx) ctx.state.n = (ctx.state.n or 0) + 1 ctx.emit('o', { key = ctx.key }) end"
    kit:events("s", { { k = 5 }, { k = 6 } })
    assert.same({ n = 2 }, kit:state "r")
    assert.same({ { key = "" }, { key = "" } }, emitted(kit))
  end)
end)

describe("a handler that fails", function()
  -- Steps of a handler; it fails behind each of them in turn.
  local STEPS = {
    "ctx.state.n = 1", "ctx.emit('o', { n = 1 })", "ctx.redis.set('a', 1)", "ctx.state.list = { 1 }", "ctx.state = { other = 2 }",
    "ctx.emit('o2', { n = 2 })", "ctx.redis.get('x')", "ctx.state.n = 3", "ctx.redis.incr('b')", "ctx.state = nil",
  }
  for _, how in ipairs { "error 'failed'", "error({ code = 1 })", "ctx.dead 'failed'", "local x = nil + 1", "ctx.emit('o', { print })",
    "local function deep() return 1 + deep() end deep()", "coroutine.yield(1)", "ctx.redis.nosuch()", "ctx.redis.get(nil)",
      "ctx.nosuch = 1" } do
    it("leaves nothing behind: " .. how, function()
      for cold = 0, 1 do
        for last = 0, #STEPS do
          local body = table.concat(STEPS, "\n", 1, last) .. "\nif event.fail then " .. how .. " end"
          local kit = handler(body, { cold = cold == 1 })
          kit:redis { ["GET x"] = "1" }
          kit:set_state("r", "1", { before = true })
          kit:event("s", { k = 1, fail = true })
          assert.same({ before = true }, kit:state("r", "1"))
          assert.same({}, kit:effects())
          assert.equal(0, kit.state_writes)
          assert.equal(1, #kit:letters())
          kit:events("s", { { k = 1 }, { k = 1, fail = true }, { k = 2 } })
          assert.equal(1, #kit:letters())
          local good = handler(body)
          good:redis { ["GET x"] = "1" }
          good:set_state("r", "1", { before = true })
          good:events("s", { { k = 1 }, { k = 2 } })
          assert.same(good:effects(), kit:effects())
          assert.same(good:state("r", "1"), kit:state("r", "1"))
          assert.same(good:state("r", "2"), kit:state("r", "2"))
        end
      end
    end)
  end

  it("does not touch other rules, nor other events", function()
    local function text(body) return ("return { stream = 's', on_event = function(event, ctx) %s end }"):format(body) end
    local kit = testing.load { ["a.lua"] = text "ctx.emit('o', { rule = 'a', n = event.n })",
      ["b.lua"] = text "ctx.emit('o', { rule = 'b', n = event.n }) if event.n == 2 then error 'no' end",
      ["c.lua"] = text "ctx.emit('o', { rule = 'c', n = event.n })" }
    kit:events("s", { { n = 1 }, { n = 2 }, { n = 3 } })
    local list = {}
    for n, fields in ipairs(emitted(kit)) do list[n] = fields.rule .. fields.n end
    assert.equal("a1 b1 c1 a2 c2 a3 b3 c3", table.concat(list, " "))
    local one = letter(kit)
    assert.same({ "b", "s", "error" }, { one.rule, one.stream, one.reason })
  end)

  it("says what happened, with the rule's own lines", function()
    local kit = testing.load {
      ["r.lua"] = [[
local sum = require "lib.sum"
local function total(list)
  return 1 + sum(list)
end
return { stream = "s", on_event = function(event, ctx)
  local x = total(event.list)
  ctx.emit("o", { x = x })
end }]],
      ["lib/sum.lua"] = [[
return function(list)
  local s = 0
  for _, v in ipairs(list) do
    s = s + v
  end
  return 0 + s
end]],
    }
    kit:event("s", { list = { 1, "two" } })
    local one = letter(kit)
    assert.equal("lib/sum.lua:4: attempt to perform arithmetic on local 'v' (a string value)", one.message)
    assert.same({ "lib/sum.lua:4: in function 'sum'", "r.lua:3: in function 'total'", "r.lua:6: in on_event" },
      { one.traceback:match "([^\n]+)\n([^\n]+)\n([^\n]+)" })
    assert.equal(2, select(2, one.traceback:gsub("\n", "\n")))
    assert.matches("^%x+$", one.version)
  end)

  it("may raise anything", function()
    local kit = handler "error(event.what == 'table' and {} or event.what == 'nil' and nil or event.what == 'number' and 5 or print, 0)"
    for what, message in pairs { table = "(error object is a table value)", number = "5", f = "(error object is a function value)" } do
      kit:event("s", { k = 1, what = what })
      assert.same({ "error", message }, { kit:letters()[1].reason, message })
    end
    kit = handler "error()"
    kit:event("s", { k = 1 })
    assert.equal("(error object is a nil value)", letter(kit).message)
    kit = handler "error(1LL)"
    kit:event("s", { k = 1 })
    assert.equal("(error object is a cdata value)", letter(kit).message)
    kit = handler "error(setmetatable({}, { __tostring = function() error 'reached' end, __eq = function() error 'reached' end }))"
    kit:event("s", { k = 1 })
    assert.equal("(error object is a table value)", letter(kit).message)
  end)

  it("has a message that is not endless", function()
    local kit = handler "error(('x'):rep(100000), 0)"
    kit:event("s", { k = 1 })
    assert.is_true(#letter(kit).message < 5000)
    kit = handler("local function deep(n) if n == 0 then error 'deep' end return 1 + deep(n - 1) end deep(5000)")
    kit:event("s", { k = 1 })
    local one = letter(kit)
    assert.matches("deep", one.message)
    assert.is_true(select(2, one.traceback:gsub("\n", "\n")) < 25)
  end)

  it("may overflow its stack", function()
    local kit = handler "local function f() return 1 + f() end f()"
    kit:event("s", { k = 1 })
    assert.matches("stack overflow", letter(kit).message)
    kit = handler "local function f() return pcall(f) and 1 + 1 end f() ctx.emit('o', { done = true })"
    kit:event("s", { k = 1 })
    assert.equal(1, #kit:effects() + #kit:letters())
  end)
end)

describe("on_error", function()
  local body = "on_event = function(event, ctx) ctx.state.n = event.n ctx.emit('o', { n = event.n }) "
    .. "if event.n == 3 then error 'three' end end"

  it("skip drops the event without a letter, and counts it", function()
    local kit = rule("on_error = 'skip', " .. body)
    kit:events("s", { { n = 1 }, { n = 2 }, { n = 3 }, { n = 4 } })
    assert.same({}, kit:letters())
    assert.same({ { n = 1 }, { n = 2 }, { n = 4 } }, emitted(kit))
    assert.equal(1, kit.rules[1].skipped)
    assert.equal(1, kit.rules[1].failed)
  end)

  it("stop ends the batch before the event, as if it had not been seen", function()
    for _, options in ipairs { {}, { batch_events = 1 }, { batch_events = 2 }, { cold = true } } do
      local kit = rule("on_error = 'stop', " .. body, options)
      local processed, why = kit:events("s", { { n = 1 }, { n = 2 }, { n = 3 }, { n = 4 } })
      assert.equal(2, processed)
      assert.matches("^rule r: error: r.lua:3: three$", why)
      assert.same({ { n = 1 }, { n = 2 } }, emitted(kit))
      assert.same({}, kit:letters())
      assert.same({ n = 2 }, kit:state "r")
      local id, again = kit:event("s", { n = 3 })
      assert.is_nil(id)
      assert.equal(why, again)
      assert.is_string(kit:event("s", { n = 5 }))
    end
  end)

  it("stop holds other rules' effects of the event back, too", function()
    local kit = testing.load { ["a.lua"] = "return { stream = 's', on_event = function(e, ctx) ctx.emit('o', { a = e.n }) end }",
      ["b.lua"] = "return { stream = 's', on_error = 'stop', on_event = function(e, ctx) if e.n == 2 then error 'x' end end }",
      ["c.lua"] = "return { stream = 's', on_event = function(e, ctx) if e.n == 2 then error 'y' end end }" }
    local processed = kit:events("s", { { n = 1 }, { n = 2 }, { n = 3 } })
    assert.equal(1, processed)
    assert.same({ { a = 1 } }, emitted(kit))
    assert.same({}, kit:letters())
  end)

  it("stop stops for every reason", function()
    for _, case in ipairs { { "event = { n = 'string' }", "schema" }, { "key = 'nokey'", "key" }, { "when = function() error 'w' end",
      "error" },
      { "on_event = function(e, ctx) ctx.dead 'd' end", "dead" }, { "on_event = function(e, ctx) ctx.state = 5 end", "state" } } do
      local kit = rule("on_error = 'stop', on_event = function() end, " .. case[1])
      local processed, why = kit:events("s", { { n = 1 } })
      assert.equal(0, processed)
      assert.matches("^rule r: " .. case[2], why)
    end
  end)
end)

describe("ctx.dead", function()
  for _, way in ipairs {
    "ctx.dead 'no'", "pcall(ctx.dead, 'no')", "pcall(pcall, ctx.dead, 'no')",
      "xpcall(function() ctx.dead 'no' end, function() return 1 end)",
    "xpcall(ctx.dead, ctx.dead, 'no')", "pcall(function() error(pcall(ctx.dead, 'no')) end)",
    "coroutine.wrap(function() ctx.dead 'no' end)()", "coroutine.resume(coroutine.create(function() ctx.dead 'no' end))",
    "pcall(coroutine.wrap(function() pcall(ctx.dead, 'no') coroutine.yield() end))",
    "coroutine.resume(coroutine.create(function() coroutine.resume(coroutine.create(function() ctx.dead 'no' end)) end))",
    "table.sort({ 3, 2, 1 }, function() pcall(ctx.dead, 'no') return false end)",
      "; ('abc'):gsub('.', function() pcall(ctx.dead, 'no') end)",
    "local t = setmetatable({}, { __index = function() ctx.dead 'no' end }) pcall(function() return t.x end)",
    "local t = setmetatable({}, { __add = function() pcall(ctx.dead, 'no') return 1 end }) local x = t + 1",
    "for _ in coroutine.wrap(function() pcall(ctx.dead, 'no') end) do end",
      "tostring(setmetatable({}, { __tostring = function() ctx.dead 'no' end }))",
    "xpcall(error, function() ctx.dead 'no' end, 'x')", "pcall(string.gsub, 'x', 'x', function() ctx.dead 'no' end)",
    "select(2, pcall(ctx.dead, 'no'))", "assert(pcall(ctx.dead, 'no'))",
  } do
    it("is caught by nothing: " .. way, function()
      for _, lookup in ipairs { "", "ctx.redis.get('x') " } do
        local kit = handler(lookup .. "ctx.state.n = 1 ctx.emit('o', { before = 1 }) " .. way .. " ctx.emit('o', { after = 1 })")
        kit:redis { ["GET x"] = "1" }
        kit:event("s", { k = 1 })
        local one = letter(kit)
        assert.same({ "dead", "no", "", "1" }, { one.reason, one.message, one.traceback, one.key })
        assert.same({}, kit:effects())
        assert.is_nil(kit:state("r", 1))
        kit:event("s", { k = 2 })
        assert.equal(1, #kit:letters())
      end
    end)
  end

  it("takes any message", function()
    for text, message in pairs { ["nil"] = "nil", ["5"] = "5", ["true"] = "true", ["''"] = "",
      ["setmetatable({}, { __tostring = function() return 'own' end })"] = "own",
      ["setmetatable({}, { __tostring = function() return {} end })"] = "(a table)",
      ["setmetatable({}, { __tostring = function() return nil end })"] = "(a nil)" } do
      local kit = handler("ctx.dead(" .. text .. ")")
      kit:event("s", { k = 1 })
      assert.same({ "dead", message }, { kit:letters()[1].reason, message })
    end
  end)
end)

describe("state", function()
  it("is an empty table at first, and kept per rule and key", function()
    local body = "ctx.emit('o', { empty = next(ctx.state) == nil }) ctx.state.by = '%s' ctx.state.key = ctx.key"
    local function text(name) return ("return { stream = 's', key = 'k', on_event = function(e, ctx) %s end }"):format(body:format(name))
      end
    local kit = testing.load { ["a.lua"] = text "a", ["b.lua"] = text "b" }
    kit:events("s", { { k = 1 }, { k = 2 }, { k = 1 } })
    assert.same({ by = "a", key = "1" }, kit:state("a", 1))
    assert.same({ by = "b", key = "2" }, kit:state("b", 2))
    local seen = {}
    for n, fields in ipairs(emitted(kit)) do seen[n] = fields.empty end
    assert.same({ true, true, true, true, false, false }, seen)
  end)

  it("holds what can be packed, and comes back the same", function()
    local kit = handler [[
      if event.put then
        ctx.state = { n = 1.5, big = tidemill.int64 "9007199254740993", list = { 1, 2, { 3 } }, map = { a = { b = { c = true } } },
          empty = tidemill.array {}, [5] = "five", [true] = "yes", e = tidemill.ext(7, "x"), null = tidemill.null, zero = "\0" }
      else
        local s = ctx.state
        assert(s.n == 1.5 and tostring(s.big) == "9007199254740993" and #s.list == 3 and s.list[3][1] == 3 and s.map.a.b.c == true)
        assert(getmetatable(s.empty) == "array" and s[5] == "five" and s[true] == "yes" and s.e.type == 7 and s.zero == "\0"
          and s.null == nil)
        s.list.total = 6
        s.list[4] = 4
        ctx.emit("o", s.list)
      end]]
    kit:event("s", { k = 1, put = true })
    kit:event("s", { k = 1 })
    assert.same({}, kit:letters())
    assert.same({ { 1, 2, { 3 }, 4, total = 6 } }, emitted(kit))
    kit:event("s", { k = 1 })
    assert.same({ 1, 2, { 3 }, 4, total = 6 }, kit:state("r", 1).list)
  end)

  it("may be a list", function()
    local kit = handler "table.insert(ctx.state, event.n) if #ctx.state == 3 then ctx.state.sum = 6 end"
    kit:events("s", { { k = 1, n = 1 }, { k = 1, n = 2 } })
    assert.same({ 1, 2 }, kit:state("r", 1))
    kit:event("s", { k = 1, n = 3 })
    assert.same({ 1, 2, 3, sum = 6 }, kit:state("r", 1))
  end)

  it("is cleared by nil and by an empty table", function()
    for _, clear in ipairs { "ctx.state = nil", "ctx.state = {}", "ctx.state.n = nil" } do
      local kit = handler("if event.clear then " .. clear .. " else ctx.state.n = 1 end")
      kit:event("s", { k = 1 })
      assert.same({ n = 1 }, kit:state("r", 1))
      kit:event("s", { k = 1, clear = true })
      assert.is_nil(kit:state("r", 1))
      assert.equal(2, kit.state_writes)
      kit:event("s", { k = 1, clear = true }) -- nothing to clear: no write
      assert.equal(2, kit.state_writes)
    end
  end)

  it("reads nil after it was set to nil, and can be set again", function()
    local kit = handler "ctx.state = nil assert(ctx.state == nil) ctx.state = { a = 1 } ctx.state.b = 2"
    kit:event("s", { k = 1 })
    assert.same({ a = 1, b = 2 }, kit:state("r", 1))
  end)

  it("is written only when it has changed", function()
    local kit = handler "ctx.state.n = event.n ctx.emit('o', { n = ctx.state.n })"
    kit:event("s", { k = 1, n = 1 })
    assert.equal(1, kit.state_writes)
    for _ = 1, 5 do kit:event("s", { k = 1, n = 1 }) end
    assert.equal(1, kit.state_writes)
    kit:events("s", { { k = 1, n = 2 }, { k = 1, n = 3 }, { k = 2, n = 3 } }) -- one write a key and batch
    assert.equal(3, kit.state_writes)
    local reader = handler "local x = ctx.state.n"
    reader:event("s", { k = 1 })
    assert.equal(0, reader.state_writes)
  end)

  it("expires on the position's clock, counted from the last change", function()
    local kit = rule("key = 'k', state = { ttl = '10s' }, on_event = function(e, ctx) "
      .. "ctx.emit('o', { n = ctx.state.n }) ctx.state.n = e.n end")
    local function at(ms, n, stream) kit:event(stream or "s", { k = 1, n = n }, { id = ms }) end
    at(100000, 1)
    at(105000, 1) -- no change: still counted from 100000
    at(109999, 2)
    at(119998, 2)
    at(119999, 3) -- expired just now
    at(129998, 4)
    assert.same({ {}, { n = 1 }, { n = 1 }, { n = 2 }, {}, { n = 3 } }, emitted(kit))
    at(1000000, 4) -- expired, and left with the same bytes again: kept, from now on
    assert.same({ {} }, emitted(kit))
    at(1009999, 4)
    assert.same({ { n = 4 } }, emitted(kit))
    assert.same({ n = 4 }, kit:state("r", 1))
    at(1010000, 4)
    assert.same({ {} }, emitted(kit))
  end)

  it("expires by the clock of its own event, in a batch that goes on for long", function()
    for _, options in ipairs { {}, { cold = true } } do
      local kit = rule("key = 'k', state = { ttl = '10s' }, on_event = function(e, ctx) "
      .. "ctx.emit('o', { n = ctx.state.n }) ctx.state.n = e.n end",
        options)
      kit:event("s", { k = 1, n = 1 }, { id = 100000 })
      kit:events { { "s", { k = 1, n = 2 }, { id = 105000 } }, { "s", { k = 2, n = 1 }, { id = 200000 } }, { "s", { k = 1, n = 3 }, {
        id = 200001 } } }
      assert.same({ {}, { n = 1 }, {}, {} }, emitted(kit))
      assert.same({ n = 3 }, kit:state("r", 1))
    end
  end)

  it("never lets the clock go back", function()
    local kit = testing.load { ["r.lua"] = [[return { stream = { "s", "t" }, key = "k", state = { ttl = "10s" },
      on_event = function(e, ctx) ctx.emit("o", { n = ctx.state.n, now = ctx.now }) ctx.state.n = e.n end }]] }
    kit:event("s", { k = 1, n = 1 }, { id = 100000 })
    kit:event("s", { k = 9, n = 9 }, { id = 200000 })
    kit:event("t", { k = 1, n = 2 }, { id = 100001 }) -- an entry of a slower stream: the state is gone for it, too
    assert.same({ { now = 100000 }, { now = 200000 }, { now = 100001 } }, emitted(kit))
  end)

  it("does not move the clock for a retry", function()
    local kit = rule("state = { ttl = '10s' }, on_event = function(e, ctx) ctx.emit('o', { n = ctx.state.n }) ctx.state.n = 1 end")
    kit:event("s", {}, { id = 100000 })
    kit:event("s", {}, { id = 900000, only = "r" })
    assert.same({ {}, { n = 1 } }, emitted(kit))
  end)

  it("that cannot be kept fails the event", function()
    for what, message in pairs {
      ["ctx.state = 5"] = "ctx.state must be a table or nil, it is a number",
        ["ctx.state = 'x'"] = "ctx.state must be a table or nil, it is a string",
      ["ctx.state = false"] = "ctx.state must be a table or nil, it is a boolean",
      ["ctx.state.f = print"] = "the state cannot be kept: it holds a function",
      ["ctx.state.own = ctx.state"] = "the state cannot be kept: it is nested deeper than 32 (or holds itself)",
      ["ctx.state.text = ('x'):rep(70000)"] = "the state of this key is 70034 bytes, more than limits.state_kb allows",
    } do
      for _, lookup in ipairs { "", "ctx.redis.get('x') " } do
        local kit = handler("ctx.emit('o', { n = 1 }) " .. lookup .. what .. " ctx.emit('o', { n = 2 })")
        kit:redis { ["GET x"] = "1" }
        kit:set_state("r", 1, { before = 1 })
        kit:events("s", { { k = 1 }, { k = 1 } })
        local letters = kit:letters()
        assert.equal(2, #letters)
        assert.same({ "state", message, "1" }, { letters[1].reason, letters[1].message, letters[1].key })
        assert.same({}, kit:effects())
        assert.same({ before = 1 }, kit:state("r", 1))
      end
    end
  end)

  it("is per key in order within one batch", function()
    for _, options in ipairs { {}, { cold = true }, { batch_events = 7, cold = true } } do
      local kit = handler("ctx.state.list = ctx.state.list or {} table.insert(ctx.state.list, event.n)", options)
      local events, want = {}, { {}, {}, {} }
      for n = 1, 60 do
        local k = n * 7 % 3 + 1
        events[n] = { k = k, n = n }
        table.insert(want[k], n)
      end
      kit:events("s", events)
      for k = 1, 3 do assert.same(want[k], kit:state("r", k).list) end
    end
  end)

  it("is found by a rule that looks at it for the first time late, without its effects doubled", function()
    local kit = handler("ctx.emit('o', { n = 1 }) ctx.log.info('once') if event.late then ctx.state.seen = true end "
      .. "ctx.emit('o', { n = 2 })")
    kit:set_state("r", 1, { old = 1 })
    kit:events("s", { { k = 1 }, { k = 1, late = true }, { k = 1, late = true } })
    assert.equal(6, #kit:effects())
    assert.equal(3, #kit:logs())
    assert.same({ old = 1, seen = true }, kit:state("r", 1))
  end)

  it("is loaded for a handler that was waiting when another first looked at it", function()
    local kit = handler "local x = ctx.redis.get('x') event.n = event.n + 1 ctx.state.n = (ctx.state.n or 0) + event.n"
    kit:redis { ["GET x"] = "1" }
    for k = 1, 3 do kit:set_state("r", k, { n = 100 }) end
    kit:events("s", { { k = 1, n = 1 }, { k = 2, n = 2 }, { k = 3, n = 3 } })
    assert.same({}, kit:letters())
    for k = 1, 3 do assert.same({ n = 101 + k }, kit:state("r", k)) end
  end)
end)

describe("rules of one stream", function()
  it("run in the order of their names, however many they are", function()
    local files, want = {}, {}
    for n = 1, 90 do
      local name = ("r%02d"):format(n)
      files[name .. ".lua"] = ("return { stream = 's', on_event = function(e, ctx) if e.n == %d then error 'x' end "
        .. "ctx.state.n = e.n ctx.emit('o', { rule = '%s' }) end }"):format(n, name)
      want[n] = name
    end
    local kit = testing.load(files)
    kit:event("s", { n = 0 })
    local names = {}
    for n, fields in ipairs(emitted(kit)) do names[n] = fields.rule end
    assert.same(want, names)
    local events = {}
    for n = 1, 90 do events[n] = { n = n } end
    kit:events("s", events)
    assert.equal(90 * 89, #kit:effects())
    assert.equal(90, #kit:letters())
    assert.same({ n = 89 }, kit:state "r90")
  end)

  it("each get an event of their own", function()
    local function text(body) return ("return { stream = 's', on_event = function(event, ctx) %s end }"):format(body) end
    local kit = testing.load { ["a.lua"] = text "event.x = 2 event.list[1] = 9 event.new = 1", ["b.lua"] = text "ctx.emit('o', event)" }
    kit:event("s", { x = 1, list = { 1 } })
    assert.same({ { x = 1, list = { 1 } } }, emitted(kit))
  end)

  it("are found by name, by list and by glob", function()
    local function text(stream)
      return ("return { stream = %s, on_event = function(e, ctx) ctx.emit('o', { s = ctx.stream }) end }"):format(stream)
    end
    local kit = testing.load { ["a.lua"] = text "'s'", ["b.lua"] = text "{ 's', 't' }", ["c.lua"] = text "'[st]*'", ["d.lua"] = text "'x'" }
    kit:event("s", {})
    assert.equal(3, #kit:effects())
    kit:event("t", {})
    assert.equal(2, #kit:effects())
    kit:event("swan", {})
    assert.same({ { s = "swan" } }, emitted(kit))
  end)
end)

describe("effects", function()
  it("are in the order of entry, rule, call, whichever finished first", function()
    local text = [[return { stream = "s", key = "k", on_event = function(e, ctx)
      ctx.emit("o", { at = e.n .. "%s1" })
      if e.ask then ctx.redis.get("x") end
      if e.state then ctx.state.n = 1 end
      ctx.emit("o", { at = e.n .. "%s2" })
    end }]]
    for _, options in ipairs { {}, { cold = true } } do
      local kit = testing.load({ ["a.lua"] = text:format("a", "a"), ["b.lua"] = text:format("b", "b") }, options)
      kit:redis { ["GET x"] = "1" }
      local events, want = {}, {}
      for n = 1, 30 do
        events[n] = { n = n, k = n % 4, ask = n % 3 == 0, state = n % 5 == 0 }
        for _, r in ipairs { "a1", "a2", "b1", "b2" } do want[#want + 1] = n .. r end
      end
      kit:events("s", events)
      local got = {}
      for n, fields in ipairs(emitted(kit)) do got[n] = fields.at end
      assert.same(want, got)
    end
  end)

  it("are limited in number and bytes", function()
    local kit = handler("for n = 1, event.n do ctx.emit('o', { n = n }) end", { limits = { effects = 10 } })
    kit:event("s", { k = 1, n = 10 })
    assert.equal(10, #kit:effects())
    kit:event("s", { k = 1, n = 11 })
    local one = letter(kit)
    assert.same({ "output", "more than 10 effects for one event (limits.effects)" }, { one.reason, one.message })
    assert.same({}, kit:effects())
    kit = handler("for n = 1, event.n do pcall(ctx.redis.set, 'x', ('x'):rep(1000)) end", { limits = { effect_kb = 4 } })
    kit:event("s", { k = 1, n = 4 })
    assert.equal(4, #kit:effects())
    kit:event("s", { k = 1, n = 5 })
    assert.same({ "output" }, reasons(kit))
  end)

  it("that Redis refused are left out, all others stay", function()
    local kit = handler "ctx.emit('a', { n = 1 }) ctx.redis.set('b', 1) ctx.emit('c', { n = 3 })"
    kit.host.refused["r 1000-0 2"] = true
    kit.partition.refused = true
    kit:event("s", { k = 1 }, { id = "1000-0" })
    local effects = kit:effects()
    assert.same({ "a", "c" }, { effects[1].stream, effects[2].stream })
    kit:event("s", { k = 1 }, { id = "1000-1" })
    assert.equal(3, #kit:effects())
  end)
end)

describe("lookups", function()
  it("let other keys go on, and make the same key wait", function()
    local kit = handler [[
      ctx.log.info("begin " .. event.n)
      if event.ask then ctx.redis.get("x") end
      ctx.log.info("end " .. event.n)]]
    local times = {}
    kit:redis(function()
      times[#times + 1] = #kit.host.lines
      return "1"
    end)
    kit:events("s", { { k = 1, n = 1, ask = true }, { k = 2, n = 2 }, { k = 1, n = 3 }, { k = 3, n = 4, ask = true } })
    local lines = {}
    for n, line in ipairs(kit:logs()) do lines[n] = line.text end
    assert.same({ "begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3", "begin 4", "end 4" }, lines) -- told in order
    assert.equal(2, #times)
    assert.is_true(times[1] >= 4) -- begin 1, begin 2, end 2, begin 4 before any answer came
    assert.equal(times[1], times[2]) -- both in one round trip
  end)

  it("give what Redis answers", function()
    local kit = handler [[
      local r = ctx.redis
      local list = r.lrange("l", 0, -1)
      ctx.emit("o", { text = r.get("t"), none = r.get("n") == nil, number = r.hlen("h"), list = list, hash = r.hgetall("h"),
        empty = r.hgetall("e"),
        many = r.hmget("h", "a", "b", "c")[2] == tidemill.null, upper = r.GET("t") })]]
    kit:redis { ["GET t"] = "text", ["GET n"] = testing.null, ["HLEN h"] = 2, ["LRANGE l 0 -1"] = { "a", 5 }, ["hgetall h"] = { a = 1,
      b = "2" },
      ["HGETALL e"] = {}, ["HMGET h a b c"] = { "1", testing.null, "3" } }
    kit:event("s", { k = 1 })
    assert.same({}, kit:letters())
    assert.same({ { text = "text", none = true, number = 2, list = { "a", "5" }, hash = { a = "1", b = "2" }, empty = {}, many = true,
      upper = "text" } },
      emitted(kit))
  end)

  it("that are refused raise at the rule's line, and can be caught", function()
    local kit = testing.load { ["r.lua"] = [[return { stream = "s", on_event = function(event, ctx)
  local ok, err = pcall(ctx.redis.get, "x")
  ctx.emit("o", { ok = ok, err = err })
  if event.raise then
    local x = ctx.redis.get("x")
  end
end }]] }
    kit:redis(function() return testing.refusal "WRONGTYPE Operation" end)
    kit:event("s", {})
    assert.same({ { ok = false, err = "r.lua:2: ctx.redis.get: WRONGTYPE Operation" } }, emitted(kit))
    kit:event("s", { raise = true })
    local one = letter(kit)
    assert.equal("r.lua:5: ctx.redis.get: WRONGTYPE Operation", one.message)
    assert.equal("r.lua:5: in on_event", one.traceback)
  end)

  it("that cannot be asked raise at the rule's line", function()
    for call, message in pairs {
      ["ctx.redis.nosuch('x')"] = "ctx.redis.nosuch: unknown command NOSUCH (to the test kit)",
      ["ctx.redis.get()"] = "ctx.redis.get: GET takes exactly 1 argument, but got 0",
      ["ctx.redis.mget()"] = "ctx.redis.mget: MGET takes at least 1 argument, but got 0",
      ["ctx.redis.keys('*')"] = "ctx.redis.keys: KEYS is refused: rules may not use it",
      ["ctx.redis.get(true)"] = "ctx.redis.get: argument 1 must be a string or a number, it is a boolean",
      ["ctx.redis.set('x', nil)"] = "ctx.redis.set: argument 2 must be a string or a number, it is a nil",
      ["ctx.redis.set('x', tidemill.null)"] = "ctx.redis.set: argument 2 must be a string or a number, it is a null",
      ["ctx.redis.get('tidemill:x')"] = "ctx.redis.get: GET is refused on the key 'tidemill:x': keys that begin with "
        .. "'tidemill:' are the engine's own; "
        .. "use ctx.state, or another key",
      ["ctx.redis.mset('a', 1, 'tidemill:x', 2)"] = "ctx.redis.mset: MSET is refused on the key 'tidemill:x': keys that begin "
        .. "with 'tidemill:' are the "
        .. "engine's own; use ctx.state, or another key",
      ["ctx.redis.del('s')"] = "ctx.redis.del: 's' is a stream that rules read; only XADD may write to it",
      ["ctx.redis['no such']()"] = "ctx.redis: no command of this name", ["ctx.redis[5]()"] = "ctx.redis: no command of this name",
      ["ctx.redis.x = 1"] = "ctx.redis cannot be written", ["ctx.redis.get = 1"] = "ctx.redis cannot be written",
    } do
      local kit = handler("\nlocal x\n" .. (call:find "=" and not call:find "%(" and call or "x = " .. call))
      kit:event("s", { k = 1 })
      assert.equal("r.lua:5: " .. message, letter(kit).message)
    end
    local kit = handler "ctx.redis.xadd('s', '*', 'data', 'x')"
    kit:event("s", { k = 1 })
    assert.same({ { command = { "XADD", "s", "*", "data", "x" } } }, kit:effects())
  end)

  it("work inside of the rule's own coroutines", function()
    local kit = handler [[
      local function both(key)
        local a = coroutine.wrap(function() coroutine.yield(ctx.redis.get(key)) coroutine.yield(ctx.redis.get(key .. "2")) return "end" end)
        return a(), a(), a()
      end
      local co = coroutine.create(function(...) local x = ... x = x .. coroutine.yield(ctx.redis.get "p") return x .. ctx.redis.get "q" end)
      local _, p = coroutine.resume(co, "<")
      local _, rest = coroutine.resume(co, ">")
      local nested = coroutine.wrap(function() return coroutine.wrap(function() return ctx.redis.get "n" end)() end)()
      local list = {}
      for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(ctx.redis.get("i" .. i)) end end) do list[#list + 1] = v end
      local a, b, c = both("x" .. event.k)
      ctx.emit("o", { a = a, b = b, c = c, p = p, rest = rest, nested = nested, list = list, status = coroutine.status(co) })]]
    kit:redis(function(argv) return argv[2]:upper() end)
    kit:events("s", { { k = 1 }, { k = 2 }, { k = 1 } })
    assert.same({}, kit:letters())
    local function want(k) return { a = "X" .. k, b = "X" .. k .. "2", c = "end", p = "P", rest = "<>Q", nested = "N", list = { "I1",
      "I2", "I3" },
      status = "dead" } end
    assert.same({ want(1), want(2), want(1) }, emitted(kit))
  end)

  it("work in metamethods, iterators and deep calls", function()
    local kit = handler [[
      local lazy = setmetatable({}, { __index = function(_, name) return ctx.redis.get(name) end })
      local function deep(n) if n == 0 then return ctx.redis.get "deep" end return (deep(n - 1)) end
      ctx.emit("o", { lazy = lazy.name, deep = deep(50), caught = select(2, pcall(function() return ctx.redis.get "in" end)) })]]
    kit:redis(function(argv) return argv[2]:upper() end)
    kit:event("s", { k = 1 })
    assert.same({ { lazy = "NAME", deep = "DEEP", caught = "IN" } }, emitted(kit))
  end)

  it("raise in callbacks of table.sort and string.gsub, with the line", function()
    for body, line in pairs { ["table.sort({ 3, 2, 1 }, function(a, b)\n local v = ctx.redis.get 'x' return v end)"] = 4,
      ["table.sort({ 3, 2, 1 }, function(a, b)\n return ctx.redis.get 'x' end)"] = 3, -- a tail call has no line of its own
      ["local s = ('abc'):gsub('.', function(c)\n local v = ctx.redis.get 'x' return v end)"] = 4,
      ["local s = ('%s'):format(setmetatable({}, { __tostring = function()\n local v = ctx.redis.get 'x' return v end }))"] = 4 } do
      local kit = handler("if event.first then return ctx.redis.get 'x' end " .. body)
      kit:redis { ["GET x"] = "1" }
      kit:events("s", { { k = 1, first = true }, { k = 1 } })
      local one = letter(kit)
      assert.equal("error", one.reason)
      assert.equal(("r.lua:%d: ctx.redis.get: a lookup cannot wait inside a callback of table.sort or string.gsub; ask before")
        :format(line), one.message)
    end
  end)

  it("see the effects of all earlier events, not those of the same event", function()
    local body = [[
      ctx.redis.incrby("count", 1)
      ctx.emit("o", { n = event.n, seen = ctx.redis.get("count") })]]
    for _, options in ipairs { { batch_events = 1 }, { batch_events = 3 }, {}, { cold = true } } do
      local kit = handler(body, options)
      local count, batches = 0, 0
      kit.on_effect = function(effect) if effect.command then count = count + 1 end end
      kit:redis(function()
        batches = batches + 1
        return tostring(count)
      end)
      local events = {}
      for n = 1, 12 do events[n] = { k = n, n = n } end
      kit:events("s", events)
      local effects, seen = kit:effects(), {}
      for _, effect in ipairs(effects) do seen[#seen + 1] = effect.fields and effect.fields.seen end
      assert.same({ "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11" }, seen)
      assert.equal(24, #effects)
      assert.is_true(batches < 12 * 6)
    end
  end)

  it("are not disturbed by writes to other keys", function()
    local kit = handler "ctx.redis.incrby('own' .. event.k, 1) ctx.emit('o', { n = ctx.redis.get('other' .. event.k) })"
    local asked = 0
    kit:redis(function() asked = asked + 1 return "1" end)
    local events = {}
    for n = 1, 20 do events[n] = { k = n } end
    kit:events("s", events)
    assert.is_true(asked <= 40) -- at most the first batch twice, when it was seen that there are lookups
  end)

  it("of no key depend on every write", function()
    local kit = handler "ctx.emit('o', { size = ctx.redis.dbsize() }) ctx.redis.set('k' .. event.n, 1)"
    local size = 0
    kit.on_effect = function(effect) if effect.command then size = size + 1 end end
    kit:redis(function() return size end)
    kit:events("s", { { k = 1, n = 1 }, { k = 2, n = 2 }, { k = 3, n = 3 } })
    local sizes = {}
    for _, effect in ipairs(kit:effects()) do sizes[#sizes + 1] = effect.fields and effect.fields.size end
    assert.same({ 0, 1, 2 }, sizes)
  end)

  it("that stop a rule by a wrong answer do not stop it", function()
    local kit = rule([[on_error = "stop", key = "k", on_event = function(event, ctx)
      if ctx.redis.get("x") ~= tostring(event.n) then error "out of step" end
      ctx.redis.incrby("x", 1) end]])
    local x = 1
    kit.on_effect = function() x = x + 1 end
    kit:redis(function() return tostring(x) end)
    local processed, stopped = kit:events("s", { { k = 1, n = 1 }, { k = 2, n = 2 }, { k = 3, n = 3 }, { k = 4, n = 4 } })
    assert.same({ 4 }, { processed, stopped })
  end)

  it("may be many and large", function()
    local kit = handler "for i = 1, 200 do assert(ctx.redis.get('k' .. i) == 'v' .. i) end ctx.emit('o', { ok = true })"
    kit:redis(function(argv) return "v" .. argv[2]:sub(2) end)
    kit:events("s", { { k = 1 }, { k = 2 }, { k = 1 } })
    assert.equal(3, #kit:effects())
  end)
end)

describe("events", function()
  it("reach a rule as they were written", function()
    local kit = handler "event.k = nil ctx.emit('o', event)"
    local wide = { k = 1 }
    for n = 1, 100 do wide["field" .. n] = n end
    for _, event in ipairs {
      { k = 1 }, { k = 1, n = 1.5, t = true, f = false, s = "", list = { 1, "2", { 3 } }, map = { a = { b = {} } } }, wide,
      { k = 1, ["weird \"name\"\n\0"] = 1, [""] = 2, ["end"] = 3 }, { k = 1, [5] = "number", [true] = "boolean" },
      { k = 1, big = value.int64 "9007199254740993", ext = value.ext(5, "abc"), empty = value.array {} },
      { k = 1, list = value.array { value.null, 1, value.null } }, { k = 1, deep = { { { { { { { { { { 1 } } } } } } } } } } },
    } do
      local want = {}
      for name, v in pairs(event) do if name ~= "k" then want[name] = v end end
      for _ = 1, 3 do kit:event("s", event) end
      assert.same({ want, want, want }, emitted(kit))
    end
    assert.same({}, kit:letters())
  end)

  it("of one name and other types do not mix up", function()
    local kit = handler "ctx.emit('o', { v = event.v })"
    local values = { 1, "1", true, false, { 1 }, { a = 1 }, 1.5, value.int64 "9007199254740993", value.ext(1, "x"), { b = 1 }, { { 2 } } }
    for _ = 1, 3 do
      for _, v in ipairs(values) do
        kit:event("s", { k = 1, v = v, after = "x" })
        assert.same({ { v = v } }, emitted(kit))
      end
    end
  end)

  it("take the last of two fields of one name", function()
    local kit = handler "ctx.emit('o', { v = event.v })"
    local raw = "\131" .. codec.hex "a16b 01 a176 01 a176 02"
    kit:event("s", raw)
    assert.same({ { v = 2 } }, emitted(kit))
  end)

  it("that cannot be decoded are one letter, without a rule", function()
    local text = "return { stream = 's', on_event = function(e, ctx) ctx.emit('o', { n = e.n }) end }"
    local kit = testing.load({ ["a.lua"] = text, ["b.lua"] = text }, { limits = { event_kb = 1, event_depth = 4, event_elements = 50 } })
    local nested = { n = { { { { 1 } } } } }
    local many = { list = {} }
    for n = 1, 60 do many.list[n] = n end
    for _, case in ipairs { { "\129\161", "msgpack: at byte 0: map of 1 pair, 1 is left" }, { "\193", nil },
      { "\129\161a\193", "msgpack: at byte 3: 0xc1 begins no msgpack value" }, { nested, "msgpack: at byte 6: nested deeper than 4" },
      { many, "msgpack: at byte 6: more than 50 elements" }, { { n = ("x"):rep(2000) },
        "the entry has 2010 bytes, more than limits.event_kb allows (1024)" } } do
      if case[2] then
        kit:events { { "s", { n = 1 } }, { "s", case[1] }, { "s", { n = 2 } } }
        local one = letter(kit)
        assert.same({ "decode", "", "s" }, { one.reason, one.rule, one.stream })
        assert.equal(case[2], one.message)
        assert.equal(4, #kit:effects())
      end
    end
  end)

  it("that are retried go to one rule only", function()
    local function text(name) return ("return { stream = 's', on_event = function(e, ctx) ctx.emit('o', { rule = '%s' }) "
      .. "if e.fail then error 'x' end end }")
      :format(name) end
    local kit = testing.load { ["a.lua"] = text "a", ["b.lua"] = text "b", ["c.lua"] = text "c" }
    kit:events { { "s", {}, { id = 1 } }, { "s", {}, { id = 2, only = "b" } }, { "s", {}, { id = 3 } } }
    local rules = {}
    for n, fields in ipairs(emitted(kit)) do rules[n] = fields.rule end
    assert.equal("a b c b a b c", table.concat(rules, " "))
    kit:event("s", { fail = true }, { only = "c", attempts = 4 })
    assert.same({ "c", 5 }, { kit:letters()[1].rule, 5 })
  end)
end)

describe("long batches", function()
  -- From now on each look at the clock takes a millisecond, and a batch has so many. Gives the list of where batches began.
  local function tick(kit, batch_ms)
    local now, begins, begin = 0, {}, kit.host.put_batch
    kit.host.time = function()
      now = now + 1
      return now
    end
    kit.host.put_batch = function(self, items, first, last)
      begins[#begins + 1] = first
      self.c.deadline_ms = now + batch_ms
      return begin(self, items, first, last)
    end
    return begins
  end

  it("run to the end", function()
    local kit = handler "ctx.state.n = (ctx.state.n or 0) + event.n if event.n % 100 == 0 then ctx.emit('o', { n = ctx.state.n }) end"
    local events = {}
    for n = 1, 5000 do events[n] = { k = n % 10, n = n } end
    kit:events("s", events)
    local sum = 0
    for k = 0, 9 do sum = sum + kit:state("r", k).n end
    assert.equal(5000 * 5001 / 2, sum)
    assert.equal(50, #kit:effects())
  end)

  it("over many streams run in order", function()
    local kit = testing.load { ["r.lua"] = "return { stream = { 'a', 'b', 'c' }, on_event = function(e, ctx) ctx.emit('o', { n = e.n }) "
      .. "if e.n % 7 == 0 then error 'seven' end end }" }
    local events, want = {}, {}
    for n = 1, 300 do
      events[n] = { ({ "a", "b", "c" })[n * n % 3 + 1], { n = n } }
      if n % 7 ~= 0 then want[#want + 1] = { n = n } end
    end
    kit:events(events)
    assert.same(want, emitted(kit))
    assert.equal(42, #kit:letters())
  end)

  it("end when their time is up, and go on where they ended", function()
    local kit = handler "ctx.state.n = (ctx.state.n or 0) + 1 if event.ask then ctx.redis.get 'x' end ctx.emit('o', { n = event.n })"
    kit:redis { ["GET x"] = "1" }
    local begins = tick(kit, 5)
    local events, want = {}, {}
    for n = 1, 100 do events[n], want[n] = { k = n % 3, n = n, ask = n % 9 == 0 }, { n = n } end
    kit:events("s", events)
    assert.same(want, emitted(kit))
    assert.is_true(#begins > 10 and #begins <= 100)
    kit.host.time = function() return math.huge end -- no time at all: an event a batch
    kit:events("s", { { k = 1, n = 1 }, { k = 1, n = 2 } })
    assert.equal(2, #kit:effects())
  end)

  it("that stop after their time is up stop at the right event", function()
    local kit = rule("on_error = 'stop', on_event = function(e, ctx) ctx.emit('o', { n = e.n }) if e.n == 9 then error 'x' end end")
    tick(kit, 12)
    local events = {}
    for n = 1, 20 do events[n] = { n = n } end
    local processed, why = kit:events("s", events)
    assert.equal(8, processed)
    assert.matches("^rule r: error", why)
    assert.equal(8, #kit:effects())
  end)

  it("of several rules end between two events, whatever becomes of one, and miss none", function()
    for _, count in ipairs { 2, 3, 45 } do
      local files = {}
      for n = 1, count do
        files[("r%02d.lua"):format(n)] = ([[return { stream = 's', when = { of = { 0, %d } }, on_event = function(e, ctx)
          ctx.emit('o', { rule = %d, n = e.n }) if e.n %% 17 == %d then error 'x' end end }]]):format(n, n, n)
      end
      local kit = testing.load(files)
      local begins = tick(kit, 5)
      local events, want, letters = {}, {}, 0
      for n = 1, 200 do
        local of = n % (count + 1)
        events[n] = n % 10 == 3 and "\129" or { n = n, of = of }
        if n % 10 == 3 then letters = letters + 1 end
        for r = 1, n % 10 ~= 3 and count or 0 do
          local is_run, is_bad = of == 0 or of == r, n % 17 == r
          if is_run and is_bad then letters = letters + 1 end
          if is_run and not is_bad then want[#want + 1] = { rule = r, n = n } end
        end
      end
      kit:events("s", events)
      assert.same(want, emitted(kit))
      assert.equal(letters, #kit:letters())
      assert.is_true(#begins > 30, #begins) -- five looks at the clock and fewer events each
    end
  end)
end)
