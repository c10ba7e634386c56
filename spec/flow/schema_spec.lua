-- Schemas that change while engines run: producers of several versions on one stream, and schemas that are edited.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

local USERS = 20

-- A rule of each version of the events. `asks`: the handler runs in a coroutine.
local function rule(asks, head)
  return engine.rule((asks and 'ctx.redis.get("x") ' or "") .. [[
    local s = ctx.state
    s.count, s.cents, s.eur = (s.count or 0) + 1, (s.cents or 0) + event.cents, (s.eur or 0) + (event.currency == "USD" and 0 or 1)]],
    'stream = "orders", ' .. head)
end

local ONE = 'key = "uid", event = { uid = "string", cents = "integer" }'
local ONE_TO_TWO = [[
  [1] = function(old) return { customer = { id = old.uid }, cents = old.cents } end,]]
local TWO_TO_THREE = [[
  [2] = function(old)
    old.cents, old.total = old.total * 100, nil
    return old
  end,]]
local TWO_EVENT = [[key = function(event) return event.customer.id end,
  event = { customer = { fields = { id = "string" }, renamed = "client" }, cents = "integer",
    currency = { "string", default = "EUR", enum = { "EUR", "USD" } } },]]
local TWO = TWO_EVENT .. " upgrade = {" .. ONE_TO_TWO .. "}"
local THREE = TWO_EVENT .. " upgrade = {" .. ONE_TO_TWO .. TWO_TO_THREE:gsub("old%.cents, old%.total = old%.total %* 100, nil",
  "if old.total then %0 end") .. "}"

-- What each producer writes of an order of `cents` by a user.
local PRODUCERS = {
  function(user, cents) return { uid = user, cents = cents } end,
  function(user, cents) return { v = 2, customer = { id = user }, cents = cents, currency = cents % 2 == 0 and "USD" or nil } end,
  function(user, cents) return { v = 2, client = { id = user }, cents = cents } end, -- of version 2 in its first days
}

describe("a stream whose events change", function()
  local server, e, sent, expected

  before_each(function() server, sent, expected = redis.start(), 0, {} end)

  after_each(function() e = engine.clear(server, e) end)

  -- Each of these producers writes `count` orders, in turn.
  local function produce(producers, count)
    local commands = {}
    for n = 1, count do
      for _, which in ipairs(producers) do
        sent = sent + 1
        local user, cents = "u" .. (n + which) % USERS, n % 97 + 1
        local event = PRODUCERS[which](user, cents)
        local sum = expected[user] or { count = 0, cents = 0, eur = 0 }
        sum.count, sum.cents, sum.eur = sum.count + 1, sum.cents + cents, sum.eur + (event.currency == "USD" and 0 or 1)
        expected[user] = sum
        commands[#commands + 1] = { "XADD", "orders", "1-" .. sent, "data", engine.pack(event) }
      end
    end
    server:pipeline(commands)
  end

  local function counted()
    e:wait_position("orders", "1-" .. sent)
    e:wait_done()
    local states = {}
    for user in pairs(expected) do states[user] = e:state("rule", user) end
    return states
  end

  local function version()
    for _, one in ipairs(e:status().rules) do
      if one.name == "rule" then return one.version end
    end
  end

  -- Saves the rule while these producers write on; returns when the new one runs.
  local function edit(text, producers)
    local before = version()
    files.write_file(e.folder .. "/rules/rule.lua", text)
    e:wait_true(function()
      produce(producers, 10)
      return version() ~= before
    end, 10, "the edit is live")
  end

  for _, asks in ipairs { false, true } do
    local how = asks and "in coroutines" or "straight"

    it("is counted once for each, by a rule that is edited while old and new producers write, " .. how, function()
      e = engine.start { server = server, rules = { ["rule.lua"] = rule(asks, ONE) }, settings = { batch_events = 100 } }
      e:wait_owner()
      produce({ 1 }, 500)
      edit(rule(asks, TWO), { 1 })
      produce({ 1, 2, 3 }, 500)
      edit(rule(asks, TWO) .. "-- once more\n", { 1, 2, 3 })
      produce({ 1, 2, 3 }, 200)
      assert.same(expected, counted())
      assert.same({}, e:letters())
    end)

    it("keeps what is too new for its rule as a letter, until the rule is edited and the letter retried, " .. how, function()
      e = engine.start { server = server, rules = { ["rule.lua"] = rule(asks, TWO) } }
      e:wait_owner()
      produce({ 1, 2 }, 20)
      sent = sent + 1
      server:call("XADD", "orders", "1-" .. sent, "data", engine.pack { v = 3, customer = { id = "u1" }, cents = 1000 })
      sent = sent + 1 -- its version as text: an entry of plain fields
      server:call("XADD", "orders", "1-" .. sent, "v", "3", "cents", "7")
      produce({ 1, 2 }, 20)
      assert.same(expected, counted())
      local letters = e:letters()
      assert.equal(2, #letters)
      for n, letter in ipairs(letters) do
        assert.same({ "rule", "upgrade", "1-" .. 40 + n, "1", "" },
          { letter.rule, letter.reason, letter.id, letter.attempts, letter.traceback })
        assert.equal("the event has version 3, this rule knows up to 2: a newer producer wrote it; add `upgrade[2]` to the rule and "
          .. "retry the letter", letter.message)
      end
      local function retry()
        local code, out = program.run { "dlq", "retry", "--all", "--reason", "upgrade", "--group", "g", "--redis", server:url() }
        assert.equal(0, code)
        e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 10, "the letters in the inbox")
        return out
      end
      assert.equal("2 letters handed back to be retried\n", retry())
      letters = e:letters() -- the rule is as it was
      assert.same({ 2, "upgrade", "2" }, { #letters, letters[1].reason, letters[1].attempts })
      edit(rule(asks, THREE), { 1, 2 })
      assert.equal("2 letters handed back to be retried\n", retry())
      letters = e:letters()
      assert.same({ 1, "schema", "field 'customer' must be a map, it is missing" }, { #letters, letters[1].reason, letters[1].message })
      local u1 = expected.u1
      u1.count, u1.cents, u1.eur = u1.count + 1, u1.cents + 1000, u1.eur + 1
      assert.same(expected, counted())
    end)
  end

  it("is a letter, and its rule's own lines, when an upgrade fails; a worker that dies in between changes nothing", function()
    local picky = TWO:gsub("return { customer", "if old.cents == 13 then error 'unlucky' end %0")
    e = engine.start { server = server, rules = { ["rule.lua"] = rule(false, picky) }, settings = { batch_events = 7 } }
    e:wait_owner()
    produce({ 1, 2 }, 60)
    e:kill_worker()
    produce({ 1, 2 }, 60)
    e:wait_position("orders", "1-" .. sent, 20)
    e:wait_done()
    local letters = e:letters()
    assert.equal(2, #letters)
    for _, letter in ipairs(letters) do
      assert.same({ "upgrade", "rule.lua:5: unlucky", "rule.lua:5: in upgrade[1]" }, { letter.reason, letter.message, letter.traceback })
    end
  end)
end)

describe("a schema that rules share", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function write(name, text)
    files.make_folder((e.folder .. "/rules/" .. name):match "^(.*)/")
    files.write_file(e.folder .. "/rules/" .. name, text)
  end

  local function version(name)
    for _, one in ipairs(e:status().rules) do
      if one.name == name then return one.version end
    end
  end

  local function wait_other(name, before)
    e:wait_true(function() return version(name) ~= before end, 5, "another version of " .. name)
    return version(name)
  end

  local function schema(body) return 'return require("tidemill").schema { event = ' .. body .. " }" end

  local USES = engine.rule('ctx.emit("out", { n = event.n })', 'stream = "s", event = require "schemas.order"')
  local OTHER = engine.rule('ctx.emit("out", { other = true })', 'stream = "t"')

  local function last_letter()
    e:wait_done()
    local letters = e:letters()
    return letters[#letters] and letters[#letters].message
  end

  it("is loaded again when it is edited, also what it requires from a folder that appears", function()
    e = engine.start { server = server, rules = { ["a.lua"] = OTHER } }
    e:wait_owner()
    local other = version "a"
    write("schemas/order.lua", schema '{ n = "string" }')
    write("b.lua", USES)
    local at = wait_other("b", nil)
    server:call("XADD", "s", "1-1", "data", engine.pack { n = 5 })
    e:wait_position("s", "1-1")
    assert.equal("field 'n' must be a string, it is a number (5)", last_letter())
    write("schemas/parts/n.lua", schema '{ n = { enum = { 5 } } }')
    write("schemas/order.lua", 'return require "schemas.parts.n"')
    at = wait_other("b", at)
    server:call("XADD", "s", "1-2", "data", engine.pack { n = 5 })
    e:wait_position("s", "1-2")
    assert.same({ { n = 5 } }, e:emitted "out")
    write("schemas/parts/n.lua", schema '{ n = { enum = { 6 } } }')
    wait_other("b", at)
    server:call("XADD", "s", "1-3", "data", engine.pack { n = 5 })
    e:wait_position("s", "1-3")
    assert.equal("field 'n' must be 6, it is a number (5)", last_letter())
    assert.equal(other, version "a")
  end)

  it("that is broken keeps the rules that use it as they were, and says where", function()
    e = engine.start { server = server, rules = { ["a.lua"] = OTHER, ["b.lua"] = USES, ["c.lua"] = USES,
      ["schemas/order.lua"] = schema '{ n = "number" }' } }
    e:wait_owner()
    local at = version "b"
    write("schemas/order.lua", schema '{\n n = { "number", optinal = true } }')
    e:wait_logged "rule_refused"
    assert.equal(at, version "b")
    local problem = { file = e.folder .. "/rules/schemas/order.lua", line = 2,
      message = "unknown attribute `optinal` of `event.n`; did you mean `optional`?" }
    assert.same({ problem, problem }, e:status().problems) -- of each rule that uses it
    local code, out = program.run { "check", e.folder .. "/rules" }
    assert.equal(1, code)
    assert.equal(("%s:%d: %s\n"):format(problem.file, problem.line, problem.message)
      .. '    2 |  n = { "number", optinal = true } } }\n      |                  ^^^^^^^\n', out)
  end)

  it("and a spec beside a rule: the one is loaded, the other is no rule, and saving it reloads nothing", function()
    e = engine.start { server = server, rules = { ["b.lua"] = USES, ["b_spec.lua"] = "error 'loaded'",
      ["schemas/order.lua"] = schema '{ n = "number" }' } }
    e:wait_owner()
    local at = version "b"
    write("b_spec.lua", "this is no Lua")
    write("c_spec.lua", OTHER)
    local code, out, err = program.run { "reload", "--control", e.control }
    assert.same({ 0, "nothing has changed\n", "" }, { code, out, err })
    assert.same({ 1, at, {} }, { #e:status().rules, version "b", e:status().problems })
    write("schemas/order.lua", schema '{ n = "number?" }') -- and the folder is watched as before
    wait_other("b", at)
    assert.equal(0, (program.run { "check", e.folder .. "/rules" }))
  end)
end)
