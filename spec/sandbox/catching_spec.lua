-- Catching what ends a call: a rule that wants to go on after the engine has ended it (ctx.dead, a limit, a handler that must be
-- run again), or to take a lookup's answer for something else.
local attack = require "spec.support.attack"
local testing = require "tidemill.testing"
local rule, run, plain = attack.rule, attack.run, attack.plain

describe("catching what ends a call:", function()
  -- Ways to catch an error, or to be somewhere that catches them; `%s` is what raises.
  local WAYS = {
    "pcall(function() %s end)",
    "pcall(pcall, pcall, function() %s end)",
    "xpcall(function() %s end, function() return 'handled' end)",
    "xpcall(function() %s end, function() error 'again' end)",
    "xpcall(function() error 'first' end, function() %s end)",
    "pcall(xpcall, function() %s end, print)",
    "coroutine.resume(coroutine.create(function() %s end))",
    "coroutine.resume(coroutine.create(function() pcall(function() %s end) coroutine.yield() end))",
    "pcall(coroutine.wrap(function() coroutine.wrap(function() %s end)() end))",
    "pcall(function() for _ in coroutine.wrap(function() %s end) do end end)",
    "pcall(function() return setmetatable({}, { __index = function() %s end }).x end)",
    "pcall(function() setmetatable({}, { __newindex = function() %s end }).x = 1 end)",
    "pcall(function() return setmetatable({}, { __call = function() %s end })() end)",
    "pcall(function() return setmetatable({}, { __concat = function() %s end }) .. '' end)",
    "pcall(function() return setmetatable({}, { __unm = function() %s end }) + -setmetatable({}, { __unm = function() %s end }) end)",
    "pcall(function() return -setmetatable({}, { __unm = function() %s end }) end)",
    "pcall(tostring, setmetatable({}, { __tostring = function() %s end }))",
    "pcall(print, setmetatable({}, { __tostring = function() %s end }))",
    "pcall(ctx.log.info, setmetatable({}, { __tostring = function() %s end }))",
    "pcall(ctx.reason, setmetatable({}, { __tostring = function() %s end }))",
    "pcall(string.format, '%%s', setmetatable({}, { __tostring = function() %s end }))",
    "pcall(require('tidemill').int64, setmetatable({}, { __tostring = function() %s end }))",
    "pcall(table.sort, { 2, 1, 3 }, function() %s end)",
    "pcall(string.gsub, 'abc', '.', function() %s end)",
    "pcall(string.gsub, 'abc', '.', setmetatable({}, { __index = function() %s end }))",
    "pcall(function() for _ in function() %s end do end end)",
    "pcall(function() local t = setmetatable({}, { __eq = function() %s end }) return t == setmetatable({}, getmetatable(t)) end)",
    "pcall(function() local m = { __lt = function() %s end } return setmetatable({}, m) < setmetatable({}, m) end)",
    "pcall(error, setmetatable({}, { __tostring = function() %s end })) %s",
  }

  local function filled(way, raises) return (way:gsub("%%s(.?)", function(tail) return raises .. tail end):gsub("%%%%", "%%")) end

  local function each_way(raises, check)
    for _, way in ipairs(WAYS) do
      local body = filled(way:gsub("'%%%%s'", "'%%%%' .. 's'"), raises)
      check(body)
    end
  end

  it("nothing catches ctx.dead", function()
    each_way("ctx.dead 'for good'", function(body)
      local kit = testing.load { ["rule.lua"] = rule("ctx.emit('no', {}) " .. body .. " ctx.emit('no', {})") }
      kit:event("s", {})
      local letter = kit:letters()[1]
      assert(letter, body .. " caught it")
      assert.same({ "dead", "for good", body }, { letter.reason, letter.message, body })
      assert.same({}, kit:effects())
      kit:event("s", {}) -- and the next event is as good as any
      assert.equal("for good", kit:letters()[1].message)
    end)
  end)

  it("control: an error is caught in all of these ways", function()
    local count = 0
    each_way("error 'mine'", function(body)
      local out, letter = run(body .. " ctx.emit('out', { went = 'on' })")
      if out then
        assert.is_nil(letter)
        count = count + 1
      else
        assert.matches("again|mine", letter.message:gsub("^.-(again).*", "again|mine"):gsub("^.-mine.*", "again|mine"), 1, true)
      end
    end)
    assert.is_true(count >= #WAYS - 4, ("%d of %d"):format(count, #WAYS))
  end)

  it("nothing catches the test kit's limit on time", function()
    each_way("do while true do end end", function(body)
      local kit = testing.load({ ["rule.lua"] = rule("if event.n then return end " .. body .. " ctx.emit('no', {})") },
        { limits = { rule_ms = 3 } })
      kit:event("s", {})
      local letter = kit:letters()[1]
      assert(letter, body .. " caught it")
      assert.same({ "time", "ran longer than 3 ms (limits.rule_ms)", body }, { letter.reason, letter.message, body })
      assert.matches("^rule.lua:%d+: in ", letter.traceback)
      kit:event("s", { n = 1 })
      assert.same({ {}, {} }, { kit:effects(), kit:letters() })
    end)
  end)

  it("nothing catches the test kit's limit on loading", function()
    each_way("do while true do end end", function(body)
      if body:find "ctx" then return end -- there is none yet
      local refused = attack.refused({ ["rule.lua"] = rule("", body) }, { limits = { load_ms = 10 } })
      assert.matches("\nrule.lua:%d+: loading took longer than 10 ms %(limits.load_ms%)", refused, nil, body)
    end)
  end)

  it("nothing catches a limit of effects", function()
    each_way("for _ = 1, 3 do ctx.emit('no', {}) end", function(body)
      local kit = testing.load({ ["rule.lua"] = rule(body .. " ctx.emit('no', {})") }, { limits = { effects = 2 } })
      kit:event("s", {})
      assert.same({}, kit:effects())
      assert.equal("output", kit:letters()[1].reason)
    end)
  end)

  it("nothing catches the first look at the state: the handler runs again, and knows it", function()
    each_way("ctx.state = { n = (ctx.state and ctx.state.n or 0) + 1 }", function(body)
      local kit = testing.load { ["rule.lua"] = rule("ctx.emit('once', {}) " .. body) }
      kit:set_state("rule", "", { n = 10 })
      kit:event("s", {})
      local letters = kit:letters()
      if #letters == 0 then
        assert.is_true(kit:state("rule").n > 10, body)
        assert.equal(1, #kit:effects())
      else
        assert.equal("error", letters[1].reason) -- what it raises anyway, such as a sort's "invalid order function"
      end
    end)
  end)

  it("a lookup is answered, or raises with its line; it is never caught as something else", function()
    each_way("seen[#seen + 1] = ctx.redis.get 'k'", function(body)
      local kit = testing.load {
        ["rule.lua"] = rule("local seen = {} " .. body .. " ctx.emit('out', { seen = seen[1], key = ctx.key })") }
      kit:redis { ["GET k"] = "answer" }
      kit:event("s", {})
      local effect, letter = kit:effects()[1], kit:letters()[1]
      if effect then
        assert.is_true(effect.fields.seen == "answer" or effect.fields.seen == nil)
      else
        assert.equal("error", letter.reason)
      end
      assert.is_true(effect ~= nil or letter ~= nil)
    end)
  end)

  it("a lookup inside of a callback says so, and the handler may go on", function()
    for _, call in ipairs { "table.sort({ 2, 1 }, function() return ctx.redis.get 'k' end)",
      "string.gsub('a', '.', function() return ctx.redis.get 'k' end)" } do
      local body = "local ok, why = pcall(function() " .. call .. " end) ctx.emit('out', { why = why })"
      local kit = testing.load { ["rule.lua"] = rule(body) }
      kit:redis { ["GET k"] = "answer" }
      kit:event("s", {})
      assert.matches("rule.lua:%d+: ctx.redis.get: a lookup cannot wait inside a callback", kit:effects()[1].fields.why)
    end
  end)

  it("a handler that yields is told so", function()
    for _, body in ipairs { "coroutine.yield()", "coroutine.yield(1, 2)", "pcall(coroutine.yield) error 'outside'",
      "ctx.redis.get 'k' coroutine.yield()" } do
      local kit = testing.load { ["rule.lua"] = rule(body) }
      kit:redis { ["GET k"] = "v" }
      kit:event("s", {})
      assert.matches("outside", kit:letters()[1].message, 1, true)
    end
  end)

  it("a rule never holds the coroutine that its handler runs in", function()
    local kit = testing.load { ["rule.lua"] = rule [[
      ctx.redis.get "k" -- from here on in a coroutine of the engine's
      local inside
      coroutine.wrap(function() inside = coroutine.running() ~= nil and coroutine.isyieldable() end)()
      ctx.emit("out", { running = tostring(coroutine.running()), can = coroutine.isyieldable(), inside = inside })]] }
    kit:redis { ["GET k"] = "v" }
    kit:event("s", {})
    assert.same({ running = "nil", can = false, inside = true }, kit:effects()[1].fields)
  end)

  it("control: plain LuaJIT lets a coroutine answer in another's place", function()
    assert.equal("forged", plain [[
      local handler, got
      handler = coroutine.create(function() got = coroutine.yield "question" end)
      coroutine.resume(handler)
      coroutine.resume(handler, "forged")
      return got]])
  end)

  it("what a rule's own coroutines yield is its own matter", function()
    for _, odd in ipairs { "nil", "ctx", "ctx.redis", "{}", "setmetatable({}, { __metatable = 'ask' })",
      "{ argv = { 'GET', 'k' } }", "print",
      "setmetatable({}, { __eq = function() return true end })", "require('tidemill').int64 '9007199254740993'", "0/0" } do
      local out, letter = run(([[
        local co = coroutine.create(function() coroutine.yield(%s, { argv = { "GET", "k" } }) return "end" end)
        local ok = coroutine.resume(co)
        local _, last = coroutine.resume(co)
        ctx.emit("out", { ok = ok, last = last, status = coroutine.status(co) })]]):format(odd))
      assert.is_nil(letter)
      assert.same({ ok = true, last = "end", status = "dead" }, out)
    end
  end)

  it("a coroutine that lives on from event to event hurts nobody", function()
    local kit = testing.load { ["rule.lua"] = rule([[
      co = co or coroutine.create(function(c)
        while true do c.redis.get "k" c = coroutine.yield() end
      end)
      coroutine.resume(co, ctx)
      ctx.emit("out", { n = event.n, status = coroutine.status(co) })]], "local co", "key = 'n',"),
      ["witness.lua"] = rule "ctx.emit('witness', { n = event.n })" }
    kit:redis(function() return "v" end)
    kit:events("s", { { n = 1 }, { n = 2 }, { n = 3 }, { n = 4 } })
    kit:event("s", { n = 5 })
    local witnessed = 0
    for _, effect in ipairs(kit:effects()) do if effect.stream == "witness" then witnessed = witnessed + 1 end end
    assert.equal(5, witnessed)
    for _, letter in ipairs(kit:letters()) do assert.equal("rule", letter.rule) end
  end)
end)
