-- Dead letters: each reason, all fields, and what goes on as if nothing had been (design 3.2 to 3.4).
local engine = require "spec.support.engine"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

-- Another rule on the same stream, which nothing may touch: it counts every event it can decode.
local WITNESS = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "orders"')

describe("a dead letter", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rule, settings, options)
    options = options or {}
    options.server, options.settings = server, settings
    options.rules = options.rules or { ["rule.lua"] = rule, ["witness.lua"] = WITNESS }
    e = engine.start(options)
    return e
  end

  -- Runs `rule` on raw entries ({ field, value, … }, IDs 1-1, 1-2, …) until all are done; returns the letters.
  local function letters_of(rule, settings, ...)
    for i, fields in ipairs { ... } do
      server:call("XADD", "orders", "1-" .. i, unpack(fields))
    end
    start(rule, settings)
    e:wait_position("orders", "1-" .. select("#", ...))
    e:wait_done()
    return e:letters()
  end

  local function packed(t)
    return { "data", engine.pack(t) }
  end

  -- All fields of a letter at once; `at` and `version` are checked for what they may be.
  local function same_letter(expected, letter)
    local found = {}
    for name, value in pairs(letter) do
      found[name] = value
    end
    local now = server:call "TIME"
    assert.is_true(math.abs(tonumber(found.at) - now[1] * 1000) < 10000, "at " .. found.at)
    assert.is_true(expected.rule == "" and found.version == "" or #found.version > 0, "version " .. found.version)
    assert.equal(tostring(letter.letter), found.letter)
    found.at, found.version, found.letter, found.raw = nil, nil, nil, nil
    for _, name in ipairs { "message", "traceback" } do
      if type(expected[name]) == "table" then
        for _, part in ipairs(expected[name]) do
          assert.is_truthy(found[name]:find(part, 1, true), ("%s in the %s: %s"):format(part, name, found[name]))
        end
        found[name], expected[name] = nil, nil
      end
    end
    assert.same(expected, found)
  end

  describe("for an entry that cannot be decoded", function()
    local function undecodable(fields, settings, message, good)
      good = good or packed { n = 1 }
      local letters = letters_of(engine.rule [[ctx.emit("out", event)]], settings, good, fields, good)
      assert.equal(1, #letters)
      same_letter({ event = fields, stream = "orders", id = "1-2", rule = "", reason = "decode", message = message,
        traceback = "", attempts = "1", key = "", payload = "" }, letters[1])
      assert.same({ { n = 1 }, { n = 1 } }, e:emitted "out")
      assert.same({ n = 2 }, e:state("witness", ""))
    end

    it("says where: msgpack that is cut off", function()
      undecodable({ "data", "\x82\xa1a\x01\xa1b\xd9\x20abc" }, nil, { "msgpack: at byte 6:", "32 bytes, 3 are left" })
    end)

    it("says where: msgpack with bytes behind it", function()
      undecodable({ "data", "\x81\xa1a\x01\x02" }, nil, { "msgpack: at byte 4:" })
    end)

    it("says where: JSON", function()
      undecodable({ "data", '{"a": 1, "b": }' }, nil, { "JSON: at byte 14" })
    end)

    it("a codec is forced and the entry has several fields", function()
      undecodable({ "a", "1", "b", "2" }, { streams = { orders = { codec = "json" } } }, { "codec is json", "one field" },
        { "data", '{"n":1}' })
    end)

    it("a codec is forced and the value is no map", function()
      undecodable({ "data", "\x93\x01\x02\x03" }, { streams = { orders = { codec = "msgpack" } } }, { "msgpack:", "must be a map" })
    end)

    it("nested too deep: msgpack", function()
      undecodable({ "data", "\x81\xa1a\x91\x91\x91\x01" }, { limits = { event_depth = 3 } }, { "at byte 5: nested deeper than 3" })
    end)

    it("nested too deep: JSON", function()
      undecodable({ "data", '{"a":[[[1]]]}' }, { limits = { event_depth = 3 } }, { "JSON: at byte", "deeper than 3" })
    end)

    it("too many elements", function()
      local list = {}
      for i = 1, 20 do
        list[i] = i
      end
      undecodable(packed { a = list }, { limits = { event_elements = 16 } }, { "more than 16" })
    end)

    it("too many plain fields", function()
      local fields = {}
      for i = 1, 17 do
        fields[2 * i - 1], fields[2 * i] = "f" .. i, "v"
      end
      undecodable(fields, { limits = { event_elements = 16 } }, { "limits.event_elements" })
    end)

    it("too large: the event is empty, its size is told", function()
      local fields = { "data", engine.pack { text = ("x"):rep(3000) } }
      local letters = letters_of(engine.rule [[ctx.emit("out", event)]], { limits = { event_kb = 2 } }, packed { n = 1 }, fields,
        packed { n = 1 })
      assert.equal(1, #letters)
      same_letter({ event = "", size = tostring(#fields[1] + #fields[2]), stream = "orders", id = "1-2", rule = "",
        reason = "decode", message = { "limits.event_kb", "2048" }, traceback = "", attempts = "1", key = "", payload = "" },
        letters[1])
      assert.equal(2, #e:emitted "out")
    end)

    it("keeps any bytes", function()
      local bytes = {}
      for i = 0, 255 do
        bytes[i + 1] = string.char(i)
      end
      local all = table.concat(bytes)
      local letters = letters_of(engine.rule [[return]], { streams = { orders = { codec = "json" } } }, { all, all .. all })
      assert.same({ all, all .. all }, letters[1].event)
    end)
  end)

  it("for an ID too far ahead of Redis' clock: future, and the clock stays", function()
    local hour = 3600000
    local now = server:call "TIME"
    local ahead = ("%.0f-7"):format(now[1] * 1000 + 2 * hour)
    server:call("XADD", "orders", ("%.0f-0"):format(now[1] * 1000 + hour / 2), "a", "1")
    server:call("XADD", "orders", ahead, "a", "1")
    start(engine.rule([[ctx.state.a = 1]], 'stream = "orders", key = "a", state = { ttl = "1h" }'))
    e:wait_position("orders", ahead)
    e:wait_done()
    local letters = e:letters()
    assert.equal(1, #letters)
    same_letter({ event = { "a", "1" }, stream = "orders", id = ahead, rule = "", reason = "future",
      message = { "ahead of Redis' clock", "future" }, traceback = "", attempts = "1", key = "", payload = "" }, letters[1])
    assert.same({ n = 1 }, e:state("witness", ""))
    -- A state written later expires by the clock of the position, which the bad ID has not moved.
    local _, expiry = e:state("rule", "1")
    assert.is_true(expiry <= now[1] * 1000 + 2 * hour, expiry)
  end)

  it("says future by the setting", function()
    local now = server:call "TIME"
    server:call("XADD", "orders", ("%.0f-0"):format(now[1] * 1000 + 20000), "a", "1")
    start(engine.rule [[return]], { future = "10s" })
    e:wait_true(function() return #e:letters() == 1 end)
    assert.equal("future", e:letters()[1].reason)
  end)

  describe("for an event that violates a rule's schema", function()
    local HEAD = 'stream = "orders", event = { n = "integer", who = "string?", ok = "boolean?" }, key = "n"'

    it("says the field and what it is", function()
      local letters = letters_of(engine.rule([[ctx.emit("out", { n = event.n })]], HEAD), nil, packed { n = 1 }, packed { n = 1.5 },
        packed { who = "x" }, packed { n = 2, who = 7 }, packed { n = 3, ok = true })
      assert.equal(3, #letters)
      same_letter({ event = packed { n = 1.5 }, stream = "orders", id = "1-2", rule = "rule", reason = "schema",
        message = { "n", "integer" }, traceback = "", attempts = "1", key = "", payload = "" }, letters[1])
      assert.equal("1-3", letters[2].id)
      assert.matches("n.*missing", letters[2].message)
      assert.equal("1-4", letters[3].id)
      assert.matches("who.*string", letters[3].message)
      assert.same({ { n = 1 }, { n = 3 } }, e:emitted "out")
      assert.same({ n = 5 }, e:state("witness", ""))
    end)

    it("takes the text of numbers and booleans from plain fields, and only there", function()
      local letters = letters_of(engine.rule([[ctx.emit("out", { n = event.n, ok = event.ok })]], HEAD), nil,
        { "n", "12", "ok", "true" }, { "n", "1x2" }, { "n", "3", "ok", "maybe" }, { "data", '{"n":"12"}' })
      assert.same({ "1-2", "1-3", "1-4" }, { letters[1].id, letters[2].id, letters[3].id })
      assert.equal(3, #letters)
      assert.same({ { n = 12, ok = true } }, e:emitted "out")
    end)
  end)

  describe("for a key", function()
    it("that is missing or no string or number", function()
      local letters = letters_of(engine.rule([[ctx.emit("out", { key = ctx.key })]], 'stream = "orders", key = "user"'), nil,
        packed { user = "u" }, packed { n = 1 }, packed { user = { 1 } }, packed { user = 7 }, packed { user = true })
      assert.equal(3, #letters)
      same_letter({ event = packed { n = 1 }, stream = "orders", id = "1-2", rule = "rule", reason = "key",
        message = { "'user' is missing" }, traceback = "", attempts = "1", key = "", payload = "" }, letters[1])
      assert.matches("is a table", letters[2].message)
      assert.matches("is a boolean", letters[3].message)
      assert.same({ { key = "u" }, { key = "7" } }, e:emitted "out")
    end)

    it("of a function that returns nil or raises", function()
      local letters = letters_of(engine.rule([[ctx.emit("out", { key = ctx.key })]],
        'stream = "orders", key = function(event) if event.n == 2 then error "no key" end return event.user end'), nil,
        packed { user = "u" }, packed { n = 1 }, packed { n = 2 })
      assert.same({ { "1-2", "key" }, { "1-3", "error" } },
        { { letters[1].id, letters[1].reason }, { letters[2].id, letters[2].reason } })
      assert.equal(2, #letters)
    end)
  end)

  describe("for a rule that raises", function()
    local RULE = [[
local tidemill = require "tidemill"

local function inner(event)
  if event.n == 2 then
    error("cannot take " .. event.n)
  end
end

local function outer(event)
  inner(event)
  return true
end

return tidemill.rule {
  stream = "orders", key = "k",
  on_event = function(event, ctx)
    ctx.state.sum = (ctx.state.sum or 0) + event.n
    ctx.emit("out", { n = event.n })
    ctx.redis.set("touched:" .. event.n, "1")
    outer(event)
    ctx.emit("out", { late = event.n })
  end,
}
]]

    it("has message, traceback and key; state and effects are undone; nobody else is touched", function()
      local letters = letters_of(RULE, nil, packed { n = 1, k = "a" }, packed { n = 2, k = "a" }, packed { n = 3, k = "a" })
      assert.equal(1, #letters)
      same_letter({ event = packed { n = 2, k = "a" }, stream = "orders", id = "1-2", rule = "rule", reason = "error",
        message = { "rule.lua:5: cannot take 2" }, traceback = { "rule.lua:5: in", "inner", "rule.lua:10: in", "rule.lua:20: in" },
        attempts = "1", key = "a", payload = "" }, letters[1])
      for _, foreign in ipairs { "kernel", "step", "[C]", "context.lua", "[string" } do
        assert.is_nil(letters[1].traceback:find(foreign, 1, true), letters[1].traceback)
      end
      assert.same({ { n = 1 }, { late = 1 }, { n = 3 }, { late = 3 } }, e:emitted "out")
      assert.same({ sum = 4 }, e:state("rule", "a"))
      assert.same({ n = 3 }, e:state("witness", ""))
      assert.equal(0, server:call("EXISTS", "touched:2"))
      assert.equal(1, server:call("EXISTS", "touched:3"))
      assert.same({ 1, 0 }, { e:status().rules[1].failed, e:status().rules[2].failed })
    end)

    it("with a table, nil, or a cut-off message: all of it text", function()
      local letters = letters_of(engine.rule [[
        if event.n == 1 then error({ code = 7 }) end
        if event.n == 2 then error() end
        if event.n == 3 then error(("x"):rep(10000)) end
        local t = nil
        return t.field]], nil, packed { n = 1 }, packed { n = 2 }, packed { n = 3 }, packed { n = 4 })
      assert.equal(4, #letters)
      for i, letter in ipairs(letters) do
        assert.same({ "1-" .. i, "error" }, { letter.id, letter.reason })
      end
      assert.is_true(#letters[3].message >= 4000 and #letters[3].message <= 4200, #letters[3].message)
      assert.matches("attempt to index", letters[4].message)
    end)

    it("writes a global", function()
      local letters = letters_of(engine.rule [[total = 1]], nil, packed { n = 1 })
      assert.matches("global 'total'", letters[1].message)
    end)

    it("says so itself: ctx.dead, which no pcall catches", function()
      local letters = letters_of(engine.rule [[
        ctx.emit("out", { n = event.n })
        if event.n == 1 then pcall(function() ctx.dead("not today") end) end]], nil, packed { n = 1 }, packed { n = 2 })
      assert.equal(1, #letters)
      assert.same({ "dead", "not today", "1-1" }, { letters[1].reason, letters[1].message, letters[1].id })
      assert.same({ { n = 2 } }, e:emitted "out")
    end)

    it("and skips: on_error = skip has no letter, and counts", function()
      local letters = letters_of(engine.rule([[if event.n == 1 then error "x" end ctx.emit("out", { n = event.n })]],
        'stream = "orders", on_error = "skip"'), nil, packed { n = 1 }, packed { n = 2 })
      assert.same({}, letters)
      assert.same({ { n = 2 } }, e:emitted "out")
      assert.equal(1, e:status().rules[1].skipped)
    end)
  end)

  describe("for a rule over its limits", function()
    it("with too many effects", function()
      local letters = letters_of(engine.rule [[for i = 1, event.n do ctx.emit("out", { i = i }) end]], { limits = { effects = 3 } },
        packed { n = 3 }, packed { n = 4 })
      assert.equal(1, #letters)
      assert.same({ "output", "1-2" }, { letters[1].reason, letters[1].id })
      assert.matches("limits.effects", letters[1].message)
      assert.equal(3, #e:emitted "out")
    end)

    it("with too many bytes of effects", function()
      local letters = letters_of(engine.rule [[ctx.emit("out", { text = ("x"):rep(event.n) })]], { limits = { effect_kb = 1 } },
        packed { n = 900 }, packed { n = 1100 })
      assert.equal(1, #letters)
      assert.same({ "output", "1-2" }, { letters[1].reason, letters[1].id })
      assert.matches("limits.effect_kb", letters[1].message)
    end)

    it("with too large a state: the state of before stays", function()
      local letters = letters_of(engine.rule [[ctx.state.text = ("x"):rep(event.n)]], { limits = { state_kb = 1 } },
        packed { n = 10 }, packed { n = 1100 })
      assert.equal(1, #letters)
      assert.same({ "state", "1-2" }, { letters[1].reason, letters[1].id })
      assert.same({ text = ("x"):rep(10) }, e:state("rule", ""))
    end)

    it("with a state that cannot be packed", function()
      local letters = letters_of(engine.rule [[ctx.state.f = function() end]], nil, packed { n = 10 })
      assert.equal("state", letters[1].reason)
      assert.is_nil(e:state("rule", ""))
    end)
  end)

  it("each for its rule, when several fail on one event", function()
    server:call("XADD", "orders", "1-1", "a", "1")
    start(nil, nil, { rules = { ["a.lua"] = engine.rule [[error "a"]], ["b.lua"] = engine.rule [[return]],
      ["c.lua"] = engine.rule [[error "c"]] } })
    e:wait_position("orders", "1-1")
    e:wait_done()
    local letters = e:letters()
    assert.same({ "a", "c" }, { letters[1].rule, letters[2].rule })
    assert.equal(2, #letters)
  end)

  it("is dropped when there are more than dlq_maxlen, about", function()
    for i = 1, 1000 do
      server:call("XADD", "orders", "1-" .. i, "a", "1")
    end
    start(engine.rule [[error "no"]], { dlq_maxlen = 100 })
    e:wait_position("orders", "1-1000")
    local len = server:call("XLEN", e:key "dlq")
    assert.is_true(len >= 100 and len <= 300, len)
    assert.equal("1-1000", e:letters()[len].id)
  end)

  describe("is not written with on_error = stop", function()
    local RULE = 'stream = "orders", on_error = "stop"'
    local BODY = [[if event.n == 3 then error "no further" end ctx.emit("out", { n = event.n })]]

    it("the offset stays before the event, the lease is held, the others wait too", function()
      for i = 1, 5 do
        server:call("XADD", "orders", "1-" .. i, unpack(packed { n = i }))
      end
      start(engine.rule(BODY, RULE), { lease_ms = 600, limits = { hard_ms = 200 } })
      e:wait_position("orders", "1-2")
      local line = e:wait_logged "rule_stopped"
      assert.matches("rule.lua:5: no further", line.cause)
      assert.matches("no further", e:status().partitions[1].stopped_by)
      local fence, began = e:ctl "fence", wait.now()
      wait.until_true(function() return wait.now() - began > 1.5 end) -- more than two leases
      assert.equal("1-2", e:position "orders")
      assert.equal(fence, e:ctl "fence")
      assert.equal(1, server:call("EXISTS", e:key "lease"))
      assert.same({}, e:letters())
      assert.same({ n = 2 }, e:state("witness", ""))
      assert.same({ { n = 1 }, { n = 2 } }, e:emitted "out")
      assert.equal(1, #e:logged "rule_stopped")
      e:stop(1)
      -- A new start tries again, with a better rule.
      local files = require "spec.support.files"
      files.write_file(e.folder .. "/rules/rule.lua", engine.rule([[ctx.emit("out", { n = event.n })]], RULE))
      e = e:another()
      e:wait_position("orders", "1-5")
      e:wait_done()
      assert.same({ { n = 1 }, { n = 2 }, { n = 3 }, { n = 4 }, { n = 5 } }, e:emitted "out")
      assert.same({ n = 5 }, e:state("witness", ""))
    end)
  end)

  it("shows in `tidemill dlq`", function()
    local bad = { "data", '{"a": 1, "b": }' }
    letters_of(engine.rule [[error "no"]], nil, packed { n = 1 }, bad)
    local code, out = program.run({ "dlq", "list", "--group", "g", "--redis", server:url() })
    assert.equal(0, code)
    assert.matches("rule +error +orders +1%-1 +1 +dead", out)
    assert.matches("decode +orders +1%-2 +1 +dead", out)
  end)
end)
