-- Events of earlier versions: `upgrade = { [1] = function(old) … end }`.
require "spec.support.runtime"
local testing = require "tidemill.testing"
local value = require "tidemill.value"

-- A rule of version 3; the line of `upgrade[1]` is the third of its file.
local function text_of(parts)
  parts = parts or {}
  return ([[
local kept
return { stream = "s", key = %s, %s
  upgrade = { [1] = %s,
    [2] = %s },
  event = { user = "string", total = "number", currency = { "string", default = "EUR" } },
  on_event = function(event, ctx)
    %s
    ctx.emit("out", event)
  end }]]):format(parts.key or '"user"', parts.head or "",
    parts.one or "function(old) return { user = old.uid, cents = old.cents, note = old.note } end",
    parts.two or "function(old) old.total = old.cents / 100 old.cents = nil return old end", parts.body or "")
end

local function load(parts, options) return testing.load({ ["r.lua"] = text_of(parts) }, options) end

local function out(kit)
  local list = {}
  for n, effect in ipairs(kit:effects()) do list[n] = effect.fields end
  return list
end

local function letter(kit)
  local letters = kit:letters()
  assert.equal(1, #letters)
  return letters[1]
end

-- Both ways in which a handler runs, see migration_spec.lua; "again": it is told to begin once more, and its event is made again.
local WAYS = {
  { name = "straight", body = "" },
  { name = "in a task", body = "ctx.redis.get('x')" },
  { name = "whose state was not there", body = "ctx.state.n = 1", options = { cold = true } },
}

for _, way in ipairs(WAYS) do
  local function prepared(parts)
    parts = parts or {}
    parts.body = way.body .. " " .. (parts.body or "")
    local kit = load(parts, way.options)
    kit:redis { ["GET x"] = "1" }
    return kit
  end

  describe("an upgrade, " .. way.name .. ",", function()
    it("makes the newest version of any, one after the other", function()
      local kit = prepared()
      kit:events("s", {
        { uid = "a", cents = 150, note = "n" }, { v = 1, uid = "b", cents = 250 }, { v = 2, user = "c", cents = 350, other = 1 },
        { v = 3, user = "d", total = 4.5, currency = "USD" },
      })
      assert.same({}, kit:letters())
      assert.same({
        { v = 3, user = "a", total = 1.5, note = "n", currency = "EUR" }, { v = 3, user = "b", total = 2.5, currency = "EUR" },
        { v = 3, user = "c", total = 3.5, other = 1, currency = "EUR" }, { v = 3, user = "d", total = 4.5, currency = "USD" },
      }, out(kit))
    end)

    it("takes the text of plain fields", function()
      local kit = prepared()
      kit:event("s", { uid = "a", cents = 150 }, { codec = "fields" })
      kit:event("s", { v = 2, user = "b", cents = 250 }, { codec = "fields" })
      kit:event("s", { v = 3, user = "c", total = 3.5 }, { codec = "fields" })
      assert.same({}, kit:letters())
      assert.same({ { v = 3, user = "a", total = 1.5, currency = "EUR" }, { v = 3, user = "b", total = 2.5, currency = "EUR" },
        { v = 3, user = "c", total = 3.5, currency = "EUR" } }, out(kit))
    end)

    it("refuses a version that it does not know", function()
      local kit = prepared()
      for _, case in ipairs {
        { 4, "the event has version 4, this rule knows up to 3: a newer producer wrote it; add `upgrade[3]` to the rule and retry the "
          .. "letter" },
        { value.int64 "9007199254740993", "the event has version 9007199254740993, this rule knows up to 3: a newer producer wrote it; "
          .. "add `upgrade[3]` to the rule and retry the letter" },
        { 0, "field 'v' must be the event's version, a whole number from 1 on, it is a number (0)" },
        { 1.5, "field 'v' must be the event's version, a whole number from 1 on, it is a number (1.5)" },
        { 1 / 0, "field 'v' must be the event's version, a whole number from 1 on, it is a number (inf)" },
        { 0 / 0, "field 'v' must be the event's version, a whole number from 1 on, it is a number (nan)" },
        { "2", "field 'v' must be the event's version, a whole number from 1 on, it is a string (\"2\")" },
        { true, "field 'v' must be the event's version, a whole number from 1 on, it is a boolean" },
        { {}, "field 'v' must be the event's version, a whole number from 1 on, it is a table" },
        { value.int64 "-9007199254740993", "field 'v' must be the event's version, a whole number from 1 on, it is an integer" },
      } do
        kit:event("s", { v = case[1], user = "a", total = 1 })
        local one = letter(kit)
        assert.same({ "upgrade", (case[2]:gsub("%(%-nan%)", "(nan)")), "r" },
          { one.reason, (one.message:gsub("%(%-nan%)", "(nan)")), one.rule })
      end
      for _, text in ipairs { "4", "0", "-1", "01", "1.0", "", "x", " 2", ("9"):rep(400) } do
        kit:event("s", { v = text, user = "a", total = "1" }, { codec = "fields" })
        assert.equal("upgrade", letter(kit).reason, text)
      end
      assert.same({}, out(kit))
    end)

    it("that fails is a letter with the rule's own lines, and leaves nothing behind", function()
      local kit = prepared { one = "function(old) if old.bad then error('cannot take ' .. old.bad) end old.user = old.uid return old end" }
      kit:events("s", { { uid = "a", cents = 100 }, { uid = "b", bad = "this" }, { uid = "c", cents = 300 } })
      local one = letter(kit)
      assert.same({ "upgrade", "r.lua:3: cannot take this", "r.lua:3: in upgrade[1]" }, { one.reason, one.message, one.traceback })
      assert.equal(2, #out(kit))
      kit:event("s", { v = 3, user = "a" }) -- and what fails next for another reason says so
      assert.equal("schema", letter(kit).reason)
      kit = prepared { body = "error 'handler'" }
      kit:events("s", { { uid = "a", cents = 100 } })
      assert.equal("error", letter(kit).reason)
    end)

    it("must return a table of fields", function()
      for result, found in pairs { ["nil"] = "nothing", ["5"] = "a number", ["'x'"] = "a string", ["true"] = "a boolean",
        ["require('tidemill').array { 1 }"] = "another kind of table", ["require('tidemill').null"] = "a cdata" } do
        local kit = prepared { two = ("function(old) return %s end"):format(result) }
        kit:event("s", { v = 2 })
        local one = letter(kit)
        assert.same({ "upgrade", "r.lua:4: `upgrade[2]` must return the event as a table of fields, it returned " .. found },
          { one.reason, one.message })
        kit:event("s", { v = 3, user = "a" })
        assert.equal("schema", letter(kit).reason)
      end
    end)

    it("has its version set whatever it says, and may return the same table or another", function()
      local kit = prepared { one = "function(old) return { v = 77, user = 'x', currency = 'EUR' } end", two = "function(old) old.v = -1 "
        .. "old.total = 1 return setmetatable(old, { __newindex = function() error 'reached' end }) end" }
      kit:event("s", {})
      assert.same({ { v = 3, user = "x", total = 1, currency = "EUR" } }, out(kit))
    end)

    it("runs behind `when` and `time`, which see the event as it came, and in front of schema and key", function()
      local kit = prepared {
        head = "when = function(event) return event.uid ~= nil and event.user == nil end, time = 'ts',",
        one = "function(old) return { user = old.uid, cents = 100, ts = 'no time' } end",
        key = "function(event) return event.user .. event.v end",
        body = "event.key, event.now = ctx.key, ctx.now",
      }
      kit:event("s", { uid = "a", ts = 1700000000 })
      assert.same({ { v = 3, user = "a", total = 1, currency = "EUR", ts = "no time", key = "a3", now = 1700000000000 } }, out(kit))
      kit:event("s", { v = 3, user = "b", total = 1, ts = 1700000000 }) -- `when` leaves it out
      kit:event("s", { uid = "a" })
      assert.same({ {}, "time" }, { out(kit), letter(kit).reason })
    end)

    it("passes over what `when` as a table leaves out", function()
      local kit = prepared { head = "when = { kind = 'order' }," }
      kit:events("s", { { kind = "order", uid = "a", cents = 100 }, { kind = "other", v = 99 } })
      assert.same({ {}, 1 }, { kit:letters(), #out(kit) })
    end)

    it("may have no effects, and no ctx that a handler has left", function()
      for call, message in pairs {
        ["kept.emit('out', {})"] = "ctx.emit is only valid during the call of a handler",
        ["kept.redis.set('a', 'b')"] = "ctx.redis is only valid during the call of a handler",
        ["kept.redis.get('a')"] = "ctx.redis is only valid during the call of a handler",
        ["kept.timer.set('t', 5)"] = "only valid during the call of a handler",
        ["kept.dead('x')"] = "only valid during the call of a handler",
      } do
        local kit = prepared { one = ("function(old) %s return old end"):format(call), body = "kept = ctx" }
        kit:event("s", { v = 3, user = "a", total = 1 })
        assert.equal(1, #out(kit))
        kit:event("s", { uid = "b" })
        local one = letter(kit)
        assert.equal("upgrade", one.reason, call)
        assert.matches(message, one.message, 1, true)
        assert.same({}, out(kit))
      end
      local kit = prepared { one = "function(old) return kept end", body = "kept = ctx" }
      kit:event("s", { v = 3, user = "a", total = 1 })
      kit:event("s", { uid = "b" })
      assert.matches("it returned another kind of table", letter(kit).message, 1, true)
    end)

    it("draws random numbers that depend on nothing but the event", function()
      local parts = { one = "function(old) return { user = old.uid, cents = math.random(1000000), note = old.note } end" }
      local function once()
        local kit = prepared { one = parts.one }
        kit:events("s", { { uid = "a" }, { uid = "b" }, { uid = "a" } })
        return out(kit)
      end
      local first = once()
      assert.same(first, once())
      assert.not_equal(first[1].total, first[2].total)
    end)
  end)
end

describe("an upgrade", function()
  it("is made again when a handler has to begin again, whatever that one did to its event", function()
    -- The first lookup of a rule is only known to come when it comes: its handler is then run again as a task.
    local kit = load { body = "event.total = event.total + 1 event.user, event.v = 'spoilt', nil ctx.redis.get('x')" }
    kit:redis { ["GET x"] = "1" }
    kit:event("s", { uid = "a", cents = 150 })
    assert.same({ { user = "spoilt", total = 2.5, currency = "EUR" } }, out(kit))
    assert.same({}, kit:letters())
  end)

  it("of version 1 alone refuses all others", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", upgrade = {}, on_event = function(e, ctx) ctx.emit("out", e) end }' }
    kit:events("s", { {}, { v = 1 }, { v = 2 } })
    assert.same({ { v = 1 }, { v = 1 } }, out(kit))
    assert.matches("^the event has version 2, this rule knows up to 1", letter(kit).message)
  end)

  it("is of no matter to rules without one", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", on_event = function(e, ctx) ctx.emit("out", e) end }' }
    kit:events("s", { {}, { v = "x" }, { v = 99 } })
    assert.same({ {}, { v = "x" }, { v = 99 } }, out(kit))
  end)

  it("stops a rule with on_error = stop, and is skipped with skip", function()
    local kit = load { head = 'on_error = "stop",' }
    local id, stopped = kit:event("s", { v = 9 })
    assert.is_nil(id)
    assert.matches("^rule r: upgrade: the event has version 9", stopped)
    kit = load { head = 'on_error = "skip",' }
    kit:event("s", { v = 9 })
    assert.same({ {}, {} }, { kit:letters(), out(kit) })
  end)

  it("is warned of when it assigns a local of the file, at its own line", function()
    assert.same({ "r.lua:3" }, (function()
      local list = {}
      for n, w in ipairs(load({ one = "function(old) kept = old return old end" }).warnings) do list[n] = w.file .. ":" .. w.line end
      return list
    end)())
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", event = require "schemas.o", on_event = function() end }',
      ["schemas/o.lua"] = 'local n = 0\nreturn require("tidemill").schema { event = { a = "string" },\n'
        .. 'upgrade = { [1] = function(old)\n n = n + 1\n return old end } }' }
    assert.same({ "schemas/o.lua", 4 }, { kit.warnings[1].file, kit.warnings[1].line })
    kit:event("s", {})
    assert.equal("field 'a' must be a string, it is missing", letter(kit).message)
  end)

  it("of a schema tells its own file and line", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", event = require "schemas.o", on_event = function() end }',
      ["schemas/o.lua"] = 'return require("tidemill").schema { event = { a = "string" },\n'
        .. 'upgrade = { [1] = function(old)\n return old.x.y end,\n  [2] = function() return 5 end } }' }
    kit:event("s", { v = 1 })
    local one = letter(kit)
    assert.same({ "upgrade", "schemas/o.lua:3: in upgrade[1]" }, { one.reason, one.traceback })
    assert.matches("^schemas/o.lua:3: attempt to index field 'x'", one.message)
    kit:event("s", { v = 2 })
    assert.matches("^schemas/o.lua:4: `upgrade%[2%]` must return", letter(kit).message)
  end)

  it("does not share what it makes between rules", function()
    local rule = 'return { stream = "s", event = require "schemas.o",\n'
      .. 'on_event = function(e, ctx) e.list.n = ctx.id ctx.emit("out", e) end }'
    local kit = testing.load { ["a.lua"] = rule, ["b.lua"] = rule, ["schemas/o.lua"] =
      'return require("tidemill").schema { event = { list = { "table", default = {} } }, upgrade = { [1] = function(o) return o end } }' }
    kit:events("s", { { x = 1 }, { x = 2 } })
    local ids = {}
    for n, fields in ipairs(out(kit)) do ids[n] = fields.list.n end
    assert.equal(4, #ids)
    assert.same({ ids[1], ids[1], ids[3], ids[3] }, ids)
  end)
end)
