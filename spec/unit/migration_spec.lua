-- Migrating states: `state = { version =, migrate = }`.
require "spec.support.runtime"
local testing = require "tidemill.testing"
local value = require "tidemill.value"

-- A rule whose state has a version; the third line of its file is that of `migrate`.
local function text_of(version, migrate, body, head)
  return ([[
local kept
return { stream = "s", key = "k", %s state = { ttl = "10s", version = %d,
  migrate = %s },
  on_event = function(event, ctx)
    %s
  end }]]):format(head or "", version, migrate, body or "")
end

local function load(version, migrate, body, options, head)
  return testing.load({ ["r.lua"] = text_of(version, migrate, body, head) }, options)
end

local COUNT = "ctx.state.n = (ctx.state.n or 0) + 1"
local TO_COUNT = "function(old, from) return { n = old.count, from = from } end"

local function letter(kit)
  local letters = kit:letters()
  assert.equal(1, #letters)
  return letters[1]
end

-- Both ways in which a handler runs: straight in the batch loop, and as a task in a coroutine, because it asks.
local WAYS = {
  { name = "straight", body = "" },
  { name = "in a task", body = "ctx.redis.get('x')\n" },
  { name = "whose state was not there", body = "", options = { cold = true } },
}

for _, way in ipairs(WAYS) do
  local function prepared(version, migrate, body, head)
    local kit = load(version, migrate, way.body .. (body or COUNT), way.options, head)
    kit:redis { ["GET x"] = "1" }
    kit:event("s", { k = "warm" }) -- from here on the rule is known to use its state, and to ask
    kit:effects()
    return kit
  end

  describe("migrating a state, " .. way.name .. ",", function()
    it("is done once for each key, before its handler", function()
      local kit = prepared(3, TO_COUNT)
      kit:set_state("r", 1, { count = 10 }, { version = 1 })
      kit:set_state("r", 2, { count = 20 }, { version = 2 })
      kit:set_state("r", 3, { n = 30 })
      kit:events("s", { { k = 1 }, { k = 2 }, { k = 1 }, { k = 3 }, { k = 4 }, { k = 2 } })
      assert.same({ { n = 12, from = 1 }, { n = 22, from = 2 }, { n = 31 }, { n = 1 } },
        { kit:state("r", 1), kit:state("r", 2), kit:state("r", 3), kit:state("r", 4) })
      assert.same({ 3, 3, 3, 3 },
        { kit:state_version("r", 1), kit:state_version("r", 2), kit:state_version("r", 3), kit:state_version("r", 4) })
      assert.same({}, kit:letters())
    end)

    it("is kept though the handler leaves it alone, also when the bytes are the same; its TTL counts anew", function()
      local kit = prepared(2, "function(old) return old end", "local n = ctx.state.n")
      kit:set_state("r", 1, { n = 5 }, { version = 1 })
      kit:advance "9s"
      kit:event("s", { k = 1 })
      assert.equal(2, kit:state_version("r", 1))
      kit:advance "9s"
      kit:event("s", { k = 1 })
      assert.same({ n = 5 }, kit:state("r", 1))
      kit:advance "2s" -- that was no write
      kit:event("s", { k = "other" })
      assert.is_nil(kit:state("r", 1))
    end)

    it("is not done for an expired state: it is empty, also when a newer version left it", function()
      local kit = prepared(2, "function() error 'reached' end")
      for version = 1, 3 do
        kit:set_state("r", version, { n = 5 }, { version = version })
      end
      kit:advance "11s"
      kit:events("s", { { k = 1 }, { k = 2 }, { k = 3 } })
      assert.same({}, kit:letters())
      assert.same({ { n = 1 }, { n = 1 }, { n = 1 } }, { kit:state("r", 1), kit:state("r", 2), kit:state("r", 3) })
    end)

    it("to nil or an empty table leaves none", function()
      for _, result in ipairs { "nil", "{}" } do
        local kit = prepared(2, "function() return " .. result .. " end", "ctx.emit('o', { n = ctx.state.n or 'none' })")
        kit:set_state("r", 1, { n = 5 }, { version = 1 })
        kit:event("s", { k = 1 })
        assert.same({ n = "none" }, kit:effects()[1].fields)
        assert.is_nil(kit:state("r", 1))
      end
    end)

    it("may change the old table and give that", function()
      local kit = prepared(2, "function(old) old.m, old.n = old.n, nil return old end", "ctx.state.seen = true")
      kit:set_state("r", 1, { n = 5, list = { value.null } }, { version = 1 })
      kit:event("s", { k = 1 })
      assert.same({ m = 5, list = { value.null }, seen = true }, kit:state("r", 1))
    end)

    for what, case in pairs {
      ["an error"] = { "function(old) error('no ' .. old.n) end", "r.lua:3: no 5", "r.lua:3: in migrate" },
      ["an error that is a table"] = { "function(old) error { } end", "(error object is a table value)", "r.lua:3: in migrate" },
      ["a missing field"] = { "function(old) return { n = old.x.y } end", "r.lua:3: attempt to index field 'x' (a nil value)",
        "r.lua:3: in migrate" },
      ["a number"] = { "function(old) return old.n end", "r.lua:3: `state.migrate` must return a table or nil, it returned a number", "" },
      ["false"] = { "function(old) return false end", "r.lua:3: `state.migrate` must return a table or nil, it returned a boolean", "" },
      ["a function inside"] = { "function(old) return { f = print } end",
        "r.lua:3: what `state.migrate` returned cannot be kept: it holds a function", "" },
      ["a table in itself"] = { "function(old) old.old = old return old end",
        "r.lua:3: what `state.migrate` returned cannot be kept: it is nested deeper than 32 (or holds itself)", "" },
      ["too much"] = { "function(old) return { s = ('x'):rep(70000) } end",
        "r.lua:3: what `state.migrate` returned is 70023 bytes, more than limits.state_kb allows", "" },
      ["a newer version"] = { TO_COUNT, "r.lua:3: the state of this key has version 7, this rule knows up to 2: "
        .. "a newer version of the rule wrote it", "", 7 },
    } do
      it("fails on " .. what .. ": a letter `migrate`, and the old state stays", function()
        local kit = prepared(2, case[1], COUNT .. " ctx.emit('o', { k = ctx.key })")
        local version = case[4] or 1
        kit:set_state("r", 1, { n = 5 }, { version = version })
        kit:set_state("r", 2, { n = 1 })
        kit:events("s", { { k = 1 }, { k = 2 }, { k = 1 } })
        local letters = kit:letters()
        assert.equal(2, #letters)
        for _, one in ipairs(letters) do
          assert.same({ "migrate", case[2], case[3], "1", "r" }, { one.reason, one.message, one.traceback, one.key, one.rule })
        end
        assert.same({ { n = 5 }, version }, { kit:state("r", 1), kit:state_version("r", 1) })
        assert.same({ n = 2 }, kit:state("r", 2))
        assert.same({ "2" }, { kit:effects()[1].fields.k })
      end)
    end

    it("that yields fails, too", function()
      local kit = prepared(2, "function(old) coroutine.yield(old) return old end")
      kit:set_state("r", 1, { n = 5 }, { version = 1 })
      kit:event("s", { k = 1 })
      assert.equal("migrate", letter(kit).reason)
      kit:event("s", { k = 2 })
      assert.same({}, kit:letters())
      assert.same({ n = 1 }, kit:state("r", 2))
    end)

    it("leaves the old state when the handler fails behind it, whose letter is its own", function()
      local kit = prepared(2, "function(old) return { m = old.n } end", "if event.bad then error 'handler' end ctx.state.n = ctx.state.m")
      kit:set_state("r", 1, { n = 5 }, { version = 1 })
      kit:event("s", { k = 1, bad = true })
      local one = letter(kit)
      assert.same({ "error", "1" }, { one.reason, one.key })
      assert.same({ { n = 5 }, 1 }, { kit:state("r", 1), kit:state_version("r", 1) })
      kit:event("s", { k = 1 })
      assert.same({ m = 5, n = 5 }, kit:state("r", 1))
    end)

    it("has no ctx: one that the rule has kept does not work in it", function()
      for call, name in pairs { ["kept.emit('o', {})"] = "emit", ["kept.dead('x')"] = "dead", ["kept.redis.get('x')"] = "redis",
        ["kept.redis.set('x', 1)"] = "redis", ["local x = kept.id"] = "id", ["kept.reason('x')"] = "reason" } do
        local kit = prepared(2, "function(old) if old.bad then " .. call .. " end return old end", "kept = ctx " .. COUNT)
        kit:set_state("r", 1, { bad = true }, { version = 1 })
        kit:set_state("r", 2, { n = 1 }, { version = 1 })
        kit:events("s", { { k = 1 }, { k = 2 } })
        local one = letter(kit)
        assert.same({ "migrate", "r.lua:3: ctx." .. name .. " is only valid during the call of a handler", "1" },
          { one.reason, one.message, one.key })
        assert.same({}, kit:effects())
        assert.same({ { bad = true }, { n = 2 } }, { kit:state("r", 1), kit:state("r", 2) })
      end
    end)

    it("does not count in what the handler may do", function()
      local drawn = {}
      for version = 1, 2 do
        local kit = prepared(2, "function(old) math.random() return old end", "ctx.emit('o', { x = math.random() }) " .. COUNT)
        kit:set_state("r", 1, { n = 1 }, { version = version })
        kit:event("s", { k = 1 }, { id = "1800000000000-1" })
        drawn[version] = kit:effects()[1].fields.x
      end
      assert.equal(drawn[1], drawn[2])
    end)

    it("is skipped or stopped by on_error as other errors are", function()
      local kit = prepared(2, "function() error 'no' end", COUNT, "on_error = 'skip',")
      kit:set_state("r", 1, { n = 5 }, { version = 1 })
      kit:events("s", { { k = 1 }, { k = 2 } })
      assert.same({ {}, { n = 5 }, { n = 1 } }, { kit:letters(), kit:state("r", 1), kit:state("r", 2) })
      kit = prepared(2, "function() error 'no' end", COUNT, "on_error = 'stop',")
      kit:set_state("r", 1, { n = 5 }, { version = 1 })
      local processed, stopped = kit:events("s", { { k = 2 }, { k = 1 }, { k = 3 } })
      assert.same({ 1, "rule r: migrate: r.lua:3: no" }, { processed, stopped })
      assert.same({ {}, { n = 1 } }, { kit:letters(), kit:state("r", 2) })
    end)

    it("does not touch other rules", function()
      local kit = testing.load({
        ["a.lua"] = text_of(2, "function() error 'no' end", way.body .. COUNT),
        ["b.lua"] = text_of(2, TO_COUNT, way.body .. COUNT),
        ["c.lua"] = "return { stream = 's', key = 'k', on_event = function(event, ctx) " .. way.body .. COUNT .. " end }",
      }, way.options)
      kit:redis { ["GET x"] = "1" }
      for _, name in ipairs { "a", "b", "c" } do kit:set_state(name, 1, { n = 5, count = 50 }, { version = 1 }) end
      kit:events("s", { { k = 1 }, { k = 1 } })
      assert.equal(2, #kit:letters())
      assert.same({ { n = 5, count = 50 }, { n = 52, from = 1 }, { n = 7, count = 50 } },
        { kit:state("a", 1), kit:state("b", 1), kit:state("c", 1) })
    end)
  end)
end

describe("a state of a newer version", function()
  it("is refused by a rule without versions, too, at its rule table", function()
    local kit = testing.load { ["r.lua"] = "local x = 1\nreturn { stream = 's', key = 'k', "
      .. "on_event = function(e, ctx) ctx.state.n = 1 end }" }
    kit:set_state("r", 1, { n = 5 }, { version = 2 })
    kit:event("s", { k = 1 })
    assert.equal("r.lua:2: the state of this key has version 2, this rule knows up to 1: a newer version of the rule wrote it",
      letter(kit).message)
    assert.same({ { n = 5 }, 2 }, { kit:state("r", 1), kit:state_version("r", 1) })
  end)
end)

describe("batches of migrations", function()
  -- A thousand events of a few hundred keys, a third of whose states are of version 1, some of which cannot be migrated.
  local function run(options, size)
    options.batch_events = size
    local kit = load(2, "function(old) if old.n % 7 == 0 then error 'no' end old.m = 1 return old end",
      "if event.n % 5 == 0 then ctx.redis.get('x') end " .. COUNT .. " if event.n % 11 == 0 then error 'handler' end", options)
    kit:redis { ["GET x"] = "1" }
    for k = 1, 300 do
      if k % 3 == 0 then kit:set_state("r", k, { n = k }, { version = 1 }) end
    end
    local events = {}
    for n = 1, 1000 do events[n] = { k = n * 17 % 400, n = n } end
    kit:events("s", events)
    local states, reasons = {}, {}
    for k = 0, 400 do states[k] = { kit:state("r", k), kit:state_version("r", k) } end
    for _, one in ipairs(kit:letters()) do reasons[#reasons + 1] = one.id .. one.reason .. one.key end
    return states, reasons
  end

  it("come to the same, however they are cut and wherever the states are", function()
    local states, reasons = run({}, 1)
    local count = 0
    for _, text in ipairs(reasons) do if text:find "migrate" then count = count + 1 end end
    assert.is_true(count > 10)
    for _, size in ipairs { 3, 100, 1000 } do
      for _, cold in ipairs { false, true } do
        local others, other_reasons = run({ cold = cold }, size)
        assert.same(states, others)
        table.sort(other_reasons)
        table.sort(reasons)
        assert.same(reasons, other_reasons)
      end
    end
  end)
end)
