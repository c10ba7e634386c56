-- Limits on what a rule spends on an event (design 7): each shape of loop, table and output that the limit is for, in a real
-- engine; and that nothing remains of it: neither its effects, nor a limit on who comes next, nor a JIT that gave up.
local engine = require "spec.support.engine"
local ffi = require "ffi"
local header = require "spec.support.header"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"

local server, front, e

local function start(rules, settings, options)
  options = options or {}
  options.server, options.rules, options.settings = server, rules, settings
  e = engine.start(options)
end

-- A rule file that reads the stream `s`; `before` stands at file level.
local function rule(body, before, head)
  return ([[
local tidemill = require "tidemill"
%s
return tidemill.rule {
  stream = "s", %s
  on_event = function(event, ctx)
    %s
  end,
}
]]):format(before or "", head or "", body)
end

local WITNESS = rule "ctx.redis.rpush('witness', event.n)"

-- Endless loops, no two of which run in the same way inside of LuaJIT. Each is one line of the rule file.
local LOOPS = {
  "while true do end",
  "repeat until false",
  "for i = 1, 1e18 do end",
  "for i = 1, 1 / 0 do local x = i * 2 end",
  "::again:: goto again",
  "local i = 0 ::again:: i = i + 1 if i > 0 then goto again end",
  "local i = 0 while true do i = i + 1 end",
  "local x = 1.5 while x > 0 do x = x * 1.0000001 if x > 1e100 then x = 1.5 end end",
  "local a, b = 1, 2 while true do a, b = b, a end",
  "while true do for _, v in ipairs { 1, 2, 3 } do local x = v end end",
  "while true do for k, v in pairs { a = 1, b = 2 } do local x = v end end",
  "while true do next {} end",
  "for w in function() return 1 end do local x = w end",
  "local x = 0 for i = 1, 1e18 do for j = 1, 3 do x = x + j end end",
  -- calls
  "local function f() return f() end f()",
  "local f, g function f() return g() end function g() return f() end f()",
  "local function f(...) return f(...) end f(1, 2, 3)",
  "local function f(...) local a = { ... } return f(unpack(a)) end f(1, 2, 3)",
  "local function f(n) if n == 0 then return 0 end return 1 + f(n - 1) end while true do f(100) end",
  "while true do (function(...) return ... end)(1, 2, 3) end",
  "while true do local f = function() return event end f() end",
  "while true do select('#', 1, 2, 3) end",
  -- strings and tables
  "while true do local s = ('x'):rep(10) end",
  "local s = 'a' while true do if #s > 1000 then s = 'a' end s = s .. 'a' end",
  "while true do tostring {} end",
  "while true do string.format('%d %s', 1, 'x') end",
  "while true do ('abc'):find 'b' end",
  "while true do ('abc'):gmatch '.'() end",
  "while true do (('x'):rep(100)):gsub('.', function(c) return c end) end",
  "local t, i = {}, 0 while true do i = i + 1 t[i % 10] = { i } end",
  "while true do table.concat { 1, 2, 3 } end",
  "while true do table.insert({}, 1) end",
  "local t = {} for i = 1, 1000 do t[i] = i end while true do table.sort(t) end",
  "while true do unpack { 1, 2, 3 } end",
  "while true do setmetatable({}, {}) end",
  -- inside of what Lua calls
  "table.sort({ 3, 2, 1 }, function() while true do end end)",
  "while true do table.sort({ 5, 4, 3, 2, 1 }, function(a, b) return a < b end) end",
  "(('x'):rep(100)):gsub('.', function() while true do end end)",
  "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
  "local t = setmetatable({}, { __index = function(_, k) while true do end end }) return t.x",
  "local t = setmetatable({}, { __index = function(_, k) return k end }) while true do local x = t[1] end",
  "setmetatable({}, { __newindex = function() while true do end end }).x = 1",
  "local t = setmetatable({}, { __concat = function() return 'x' end }) while true do local x = t .. 'y' end",
  "local t = setmetatable({}, { __call = function() end }) while true do t() end",
  "local m = { __lt = function() return true end } local t, u = setmetatable({}, m), setmetatable({}, m) while t < u do end",
  "local m = { __eq = function() return true end } local t, u = setmetatable({}, m), setmetatable({}, m) while t == u do end",
  "local co = coroutine.wrap(function() while true do end end) co()",
  "local function deeper(n) if n == 0 then while true do end end coroutine.wrap(deeper)(n - 1) end deeper(50)",
  "while true do local co = coroutine.wrap(function() coroutine.yield(1) end) co() end",
  "local co = coroutine.create(function() while true do coroutine.yield() end end) while true do coroutine.resume(co) end",
  -- that catch what stops them
  "while true do pcall(error, 'x') end",
  "while true do pcall(function() while true do end end) end",
  "while true do pcall(pcall, function() while true do pcall(error) end end) end",
  "xpcall(error, function() while true do end end, 1)",
  "while true do xpcall(error, function(err) return err end, 1) end",
  "while true do xpcall(function() while true do end end, function() while true do end end) end",
  "while true do local co = coroutine.wrap(function() while true do end end) pcall(co) end",
  "while true do coroutine.resume(coroutine.create(function() while true do pcall(error) end end)) end",
  "local co = coroutine.create(function() while true do pcall(coroutine.yield) end end) while true do coroutine.resume(co) end",
  "local t t = setmetatable({}, { __index = function(_, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
  "local function f() return 1 + f() end while true do pcall(f) end",
  "while true do pcall(ctx.emit, 'undone', 1) end",
  "while true do pcall(require, 'nothing') end",
}

-- All of LOOPS as one rule file; the line of a loop in it is its number and FIRST_LINE.
local FIRST_LINE = 2
local function loops_rule()
  local lines = { "local loops = {}" }
  for n, text in ipairs(LOOPS) do lines[#lines + 1] = ("loops[%d] = function(event, ctx) %s end"):format(n, text) end
  lines[#lines + 1] = [[
return {
  stream = "s", key = function() return "k" end,
  on_event = function(event, ctx)
    ctx.state.count = (ctx.state.count or 0) + 1
    if event.loop then
      ctx.emit("undone", { n = event.n })
      loops[event.loop](event, ctx)
    end
    ctx.emit("out", { n = event.n, count = ctx.state.count })
  end,
}]]
  return table.concat(lines, "\n")
end

before_each(function() server = redis.start() end)

after_each(function()
  if e then e:kill() end
  if front then front:stop() end
  server:stop()
  e, front = nil, nil
end)

describe("the time limit", function()
  it(("stops %d endless loops, and the next event of the same rule and all other rules go on"):format(#LOOPS), function()
    engine.flood(server, "s", 2 * #LOOPS, function(n) return { loop = n % 2 == 0 and n / 2 or nil } end)
    start({ ["loops.lua"] = loops_rule(), ["witness.lua"] = WITNESS }, { limits = { rule_ms = 10 } })
    e:wait_position("s", "1-" .. 2 * #LOOPS, 60)
    e:wait_done()
    local letters = e:letters()
    for n, letter in ipairs(letters) do
      assert.same({ "loops", "time", "ran longer than 10 ms (limits.rule_ms)", "1-" .. 2 * n, "k" },
        { letter.rule, letter.reason, letter.message, letter.id, letter.key }, LOOPS[n])
      local line = letter.traceback:match "^loops%.lua:(%d+): in "
      assert.equal(FIRST_LINE + n - 1, tonumber(line), LOOPS[n] .. "\n" .. letter.traceback .. "|")
    end
    assert.equal(#LOOPS, #letters)
    assert.same({}, e:emitted "undone")
    local out = e:emitted "out"
    assert.equal(#LOOPS, #out)
    for n = 1, #LOOPS do assert.same({ n = 2 * n - 1, count = n }, out[n]) end
    assert.equal(#LOOPS, e:state("loops", "k").count)
    assert.equal(2 * #LOOPS, server:call("LLEN", "witness"))
    e:stop()
  end)

  it("also holds in `when`, `key` and `upgrade`, and without a state", function()
    engine.flood(server, "s", 3)
    start({
      ["a.lua"] = rule("ctx.redis.rpush('a', event.n)", "", "when = function(event) while event.n == 2 do end return true end,"),
      ["b.lua"] = rule("ctx.redis.rpush('b', event.n)", "", "key = function(event) while event.n == 2 do end return 'k' end,"),
      ["c.lua"] = rule("ctx.redis.rpush('c', event.n) while event.n == 2 do end"),
      ["d.lua"] = rule("ctx.redis.rpush('d', event.n)", "",
        "upgrade = { [1] = function(old) while old.n == 2 do pcall(function() while true do end end) end return old end },"),
    }, { limits = { rule_ms = 10 } })
    e:wait_position("s", "1-3")
    e:wait_done()
    local seen = {}
    for _, letter in ipairs(e:letters()) do seen[#seen + 1] = letter.rule .. " " .. letter.reason .. " " .. letter.id end
    assert.same({ "a time 1-2", "b time 1-2", "c time 1-2", "d time 1-2" }, seen)
    for _, name in ipairs { "a", "b", "c", "d" } do assert.same({ "1", "3" }, server:call("LRANGE", name, 0, -1)) end
  end)

  it("stops handlers that wait for Redis, also those that ask for ever, but charges nobody for waiting", function()
    server:call("SET", "x", "1")
    front = proxy.start(server)
    engine.flood(server, "s", 30, function(n) return { k = n } end)
    start({ ["a.lua"] = rule([[
      ctx.emit("undone", { n = event.n })
      ctx.redis.get "x"
      while event.n == 10 do end
      while event.n == 20 do pcall(ctx.redis.get, "x") end
      ctx.redis.get "x"
      ctx.redis.rpush("out", event.n)]], "", "key = 'k',"), ["witness.lua"] = WITNESS },
      { limits = { rule_ms = 10 } }, { url = front:url() })
    e:wait_position("s", "1-30", 60)
    e:wait_done()
    local seen = {}
    for _, letter in ipairs(e:letters()) do seen[#seen + 1] = letter.reason .. " " .. letter.id end
    assert.same({ "time 1-10", "time 1-20" }, seen)
    assert.equal(28, server:call("LLEN", "out"))
    assert.equal(28, server:call("XLEN", "undone"))
    front:delay(30) -- each way: every lookup takes six times the limit
    engine.flood(server, "s", 5, function(n) return { k = n + 100 } end, 2)
    e:wait_position("s", "2-5", 20)
    e:wait_done()
    assert.equal(2, #e:letters())
    assert.equal(33, server:call("LLEN", "out"))
  end)
end)

-- Ways to take all memory, one line of a rule file each.
local HOGS = {
  "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
  "local t = {} while true do t[#t + 1] = { #t } end",
  "local s = 'x' while true do s = s .. s end",
  "local s = ('x'):rep(1e9) return #s",
  "local s = ('x'):rep(1e6) local t = {} for n = 1, 1000 do t[n] = s end return #table.concat(t)",
  "local t = {} while true do t[#t + 1] = function() return t end end",
  "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
  "local t = {} while true do t = { t } end",
  "local n = 0 local t = {} while true do n = n + 1 t['key' .. n] = n end",
  "local s = ('x'):rep(1e6) while true do s = s:gsub('x', 'xxxx') end",
  "local s = '' while true do s = s .. ('%99d'):format(1) .. s end",
  "coroutine.wrap(function() local t = {} while true do t[#t + 1] = { {} } end end)()",
  -- that catch what refuses them
  "local t = {} while true do pcall(function() while true do t[#t + 1] = { #t } end end) end",
  "while true do pcall(string.rep, 'x', 1e9) end",
  "while true do xpcall(function() return ('x'):rep(1e9) end, function() return ('x'):rep(1e9) end) end",
  "local co = coroutine.create(function() local s = 'x' while true do s = s .. s end end) coroutine.resume(co) while true do end",
  "local f = coroutine.wrap(function() while true do pcall(string.rep, 'x', 1e9) end end) pcall(f) ctx.emit('undone', {})",
  -- after it has waited
  "ctx.redis.get 'x' local t = {} while true do t[#t + 1] = { #t } end",
}

describe("the memory limit", function()
  it(("takes all of %d hogs back, and the next event of the same rule and all other rules go on"):format(#HOGS), function()
    local lines = { "local hogs = {}" }
    for n, text in ipairs(HOGS) do lines[#lines + 1] = ("hogs[%d] = function(event, ctx) %s end"):format(n, text) end
    lines[#lines + 1] = [[
      return {
        stream = "s", key = function() return "k" end,
        on_event = function(event, ctx)
          ctx.state.count = (ctx.state.count or 0) + 1
          if event.hog then
            ctx.emit("undone", { n = event.n })
            hogs[event.hog](event, ctx)
          end
          ctx.emit("out", { n = event.n, count = ctx.state.count })
        end,
      }]]
    engine.flood(server, "s", 2 * #HOGS, function(n) return { hog = n % 2 == 0 and n / 2 or nil } end)
    start({ ["hogs.lua"] = table.concat(lines, "\n"), ["witness.lua"] = WITNESS },
      { limits = { rule_ms = 20000, vm_mb = 24, effects = 1000000, effect_kb = 262144 } })
    e:wait_position("s", "1-" .. 2 * #HOGS, 60)
    e:wait_done()
    local letters = e:letters()
    for n, letter in ipairs(letters) do
      assert.same({ "hogs", "memory", "needs more memory than limits.vm_mb allows (24 MB)", "1-" .. 2 * n, "k" },
        { letter.rule, letter.reason, letter.message, letter.id, letter.key }, HOGS[n])
    end
    assert.equal(#HOGS, #letters)
    assert.same({}, e:emitted "undone")
    assert.equal(#HOGS, #e:emitted "out")
    assert.equal(#HOGS, e:state("hogs", "k").count)
    assert.equal(2 * #HOGS, server:call("LLEN", "witness"))
    -- Twice the limit before a rule is stopped, and a new VM while the old one is being closed. A sanitizer build needs half as
    -- much again, for what it puts around each piece of memory.
    local vms = os.getenv "VARIANT" == "asan" and 6 or 4
    assert.is_true(e:peak_kb() < 24 * 1024 * vms, e:peak_kb())
    e:stop()
  end)

  it("holds while rules are loaded, too", function()
    start({ ["a.lua"] = rule("", "local t = {} while true do t[#t + 1] = { #t } end"), ["b.lua"] = rule "" },
      { limits = { vm_mb = 16 } })
    assert.equal(1, e.process:wait(10).code)
    assert.matches("a.lua:1: needs more memory to load than limits.vm_mb allows (16 MB)", e:log(), 1, true)
    assert.not_matches("b.lua", e:log(), 1, true)
  end)

  it("is no matter of words: a rule's own error with Lua's text is an error", function()
    engine.flood(server, "s", 3)
    start { ["a.lua"] = rule "pcall(error, 'not enough memory', 0) if event.n == 2 then error('not enough memory', 0) end" }
    e:wait_position("s", "1-3")
    e:wait_done()
    local letters = e:letters()
    assert.same({ 1, "error", "not enough memory", "1-2" }, { #letters, letters[1].reason, letters[1].message, letters[1].id })
  end)

  it("blames nobody for garbage: a rule that makes ten times the limit of it, little by little, never meets it", function()
    engine.flood(server, "s", 3000)
    start({ ["a.lua"] = rule [[
      local t = {}
      for n = 1, 1000 do t[n] = { n, event.n } end
      ctx.state.last = ("x"):rep(1000) .. event.n]] }, { limits = { vm_mb = 16 } })
    e:wait_position("s", "1-3000", 30)
    e:wait_done()
    assert.same({}, e:letters())
  end)

  it("blames no event for what rules have kept in locals: there is a new VM, and nothing is lost or done twice", function()
    engine.flood(server, "s", 80)
    start({
      ["keeper.lua"] = rule("kept[#kept + 1] = ('x'):rep(1e6) .. event.n ctx.state.n = (ctx.state.n or 0) + 1 "
        .. "ctx.emit('out', { n = event.n, count = ctx.state.n })", "local kept = {}"),
      ["other.lua"] = rule "local t = {} for n = 1, 400 do t[n] = ('y'):rep(400) .. n end ctx.redis.rpush('other', event.n)",
    }, { limits = { vm_mb = 32, rule_ms = 400 } })
    e:wait_position("s", "1-80", 60)
    e:wait_done()
    assert.same({}, e:letters())
    local out = e:emitted "out"
    assert.equal(80, #out)
    for n = 1, 80 do assert.same({ n = n, count = n }, out[n]) end
    assert.equal(80, server:call("LLEN", "other"))
    assert.is_true(#e:logged "vm_full" >= 1)
    e:stop()
  end)

  it("lets events that wait for answers wait in smaller batches, when they do not fit together", function()
    server:call("SET", "x", "1")
    engine.flood(server, "s", 100, function(n) return { k = n, text = ("%07d"):format(n):rep(40000) } end)
    start({ ["a.lua"] = rule("ctx.redis.get 'x' ctx.redis.rpush('out', event.n .. ' ' .. #event.text)", "", "key = 'k',") },
      { limits = { vm_mb = 16 } })
    e:wait_position("s", "1-100", 30)
    e:wait_done()
    assert.same({}, e:letters())
    local out = server:call("LRANGE", "out", 0, -1)
    assert.equal(100, #out)
    for n = 1, 100 do assert.equal(n .. " 280000", out[n]) end
  end)
end)

describe("a rule", function()
  it("may have lower limits of its own, and the others keep those of the settings", function()
    local bodies = {
      rule_ms = "while true do end", effects = "for n = 1, 3 do pcall(ctx.emit, 'undone', { n = n }) end",
      effect_kb = "pcall(ctx.emit, 'undone', { text = ('x'):rep(1100) })", state_kb = "ctx.state.text = ('x'):rep(1100)",
    }
    local rules = {
      ["easy.lua"] = rule "for n = 1, 3 do ctx.emit('easy', { text = ('x'):rep(1100) }) end ctx.state.text = ('x'):rep(1100)",
    }
    for name, body in pairs(bodies) do
      rules[name .. ".lua"] = rule("if event.n == 1 then " .. body .. " end ctx.redis.rpush('" .. name .. "', event.n)", "",
        "limits = { rule_ms = 10, effects = 2, effect_kb = 1, state_kb = 1 },")
    end
    engine.flood(server, "s", 2)
    start(rules)
    e:wait_position("s", "1-2")
    e:wait_done()
    local seen = {}
    for _, letter in ipairs(e:letters()) do seen[letter.rule] = letter.reason .. ": " .. letter.message end
    assert.same({
      rule_ms = "time: ran longer than 10 ms (the rule's limits.rule_ms)",
      effects = "output: more than 2 effects for one event (the rule's limits.effects)",
      effect_kb = "output: more than 1024 bytes of effects for one event (the rule's limits.effect_kb)",
      state_kb = "state: the state of this key is 1124 bytes, more than the rule's limits.state_kb allows",
    }, seen)
    assert.same({}, e:emitted "undone")
    assert.equal(6, #e:emitted "easy")
    for name in pairs(bodies) do assert.same({ "2" }, server:call("LRANGE", name, 0, -1)) end
  end)
end)

describe("LuaJIT", function()
  pcall(ffi.cdef, "typedef struct lua_State lua_State;")
  local C = header.load("src/sandbox/limit.h")
  pcall(ffi.cdef, [[
    int luaL_loadstring(void *, const char *); void lua_settop(void *, int);
    void lua_getfield(void *, int, const char *); double lua_tonumber(void *, int);]])
  local vm, mark, rule_ms

  -- Runs Lua in a VM of its own, with a JIT, unlike this spec's; returns a number.
  local function run(text)
    local L = C.vm_lua(vm)
    assert.equal(0, C.luaL_loadstring(L, text))
    local why = ffi.new "struct error"
    assert.equal(0, C.vm_call(vm, 0, 1, why), ffi.string(why.text))
    local number = C.lua_tonumber(L, -1)
    C.lua_settop(L, -2)
    return number
  end

  before_each(function()
    vm = C.vm_create()
    mark, rule_ms = ffi.new "struct mark[1]", ffi.new("uint32_t[1]", 5)
    run(([[
      ffi = require "ffi"
      ffi.cdef "struct mark { uint32_t rule, leaving, serial, is_full, is_seen, spent_us; };"
      mark = ffi.cast("struct mark *", %.0f)
      traces, stops = 0, 0
      jit.attach(function(what) if what == "stop" then traces = traces + 1 end end, "trace")
      function guarded(f)
        mark.serial, mark.is_full = mark.serial + 1, 0
        mark.rule = 1
        local ok, err = pcall(f)
        mark.rule = 0
        if err == "over" or err == "not enough memory" then stops = stops + 1 end
      end
      function over() return "over" end]]):format(tonumber(ffi.cast("uintptr_t", mark))))
    local L = C.vm_lua(vm)
    C.lua_getfield(L, -10002, "over")
    assert.equal(0, C.limit_attach(vm, mark, rule_ms, 1, nil))
  end)

  after_each(function()
    C.limit_detach(vm)
    C.vm_destroy(vm)
  end)

  it("compiles what comes after a loop that was stopped, a hundred times", function()
    assert.equal(100, run [[
      local useful = 0
      for n = 1, 100 do
        guarded(n % 2 == 0 and function() local x = 0 while true do x = x + 1 end end
          or function() while true do pcall(function() return {} end) end end)
        local before = traces
        assert(loadstring "local x = 0 for i = 1, 1000 do x = x + i end")()
        if traces > before then useful = useful + 1 end
      end
      return useful]])
    assert.equal(100, run "return stops")
  end)

  it("compiles what comes after a hog that was stopped for its memory", function()
    C.vm_limit_memory(vm, 32 * 1048576, mark)
    rule_ms[0] = 10000
    assert.equal(30, run [[
      local useful = 0
      for n = 1, 30 do
        guarded(n % 2 == 0 and function() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end
          or function() local t = {} while true do t[#t + 1] = function() return t end end end)
        collectgarbage()
        local before = traces
        assert(loadstring "local x = 0 for i = 1, 1000 do x = x + i end")()
        if traces > before then useful = useful + 1 end
      end
      return useful]])
    assert.equal(30, run "return stops")
  end)

  it("stops compiled code that was compiled before anything was stopped", function()
    assert.equal(1, run [[
      local function spin(n) local x = 0 while x < n do x = x + 1 end end
      for _ = 1, 100 do spin(1000) end
      local before = traces
      assert(before > 0)
      guarded(function() spin(1e18) end)
      return stops]])
  end)

  it("never interrupts what is no rule, nor the next event or rule", function()
    assert.equal(0, run [[
      local x, began = 0, os.clock()
      while os.clock() - began < 0.03 do x = x + 1 end -- no rule
      for _ = 1, 1000 do
        guarded(function() for i = 1, 20000 do x = x + i end end)
      end
      return stops]])
  end)
end)
