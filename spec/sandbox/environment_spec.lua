-- Attacks on what a rule can see (design 7, "Environment"): each is tried in a rule, and where plain Lua would let it through, a
-- control shows that there it works.
require "spec.support.runtime"
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"
local testing = require "tidemill.testing"

-- A rule whose handler is `body`; `before` stands at file level.
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

-- Runs a handler on one event. Returns what it emitted to "out", its letter, and the kit.
local function run(body, before, head, options)
  local kit = testing.load({ ["rule.lua"] = rule(body, before, head) }, options)
  kit:event("s", { n = 1 })
  local effect = kit:effects()[1]
  return effect and effect.fields, kit:letters()[1], kit
end

-- What the mistakes of a folder are.
local function refused(files)
  local ok, why = pcall(testing.load, files)
  assert.is_false(ok)
  return why
end

-- What an expression gives in plain LuaJIT, with all of its libraries.
local function plain(code)
  local names = setmetatable({ tidemill = require "tidemill" }, { __index = _G })
  return assert(load(code, "=plain", "bt", names))()
end

-- A rule of each text reads the stream; they run in the order of their names.
local function together(bodies)
  local files = {}
  for name, body in pairs(bodies) do files[name .. ".lua"] = type(body) == "table" and rule(body[1], body[2]) or rule(body) end
  local kit = testing.load(files)
  kit:event("s", { n = 1, list = { 1, 2 } })
  kit:event("s", { n = 2, list = { 1, 2 } })
  return kit
end

describe("host access:", function()
  local GLOBALS = { "io", "os", "debug", "ffi", "jit", "package", "loadstring", "load", "dofile", "loadfile", "getfenv", "setfenv",
    "newproxy", "_G", "module", "gcinfo", "_ENV", "arg", "_VERSION" }
  for _, name in ipairs(GLOBALS) do
    it("a rule knows no global `" .. name .. "`", function()
      local out, letter = run(("ctx.emit('out', { kind = type(%s) })"):format(name))
      assert.is_nil(out)
      assert.equal("error", letter.reason)
      assert.matches("unknown global '" .. name .. "'", letter.message, 1, true)
    end)
  end

  it("control: plain LuaJIT has them", function()
    local there = 0
    for _, name in ipairs(GLOBALS) do
      if plain("return rawget(_G or {}, '" .. name .. "')") ~= nil then there = there + 1 end
    end
    assert.is_true(there >= 14)
  end)

  local FIELDS = { "string.dump", "math.randomseed", "table.foreach", "table.foreachi", "table.getn", "string.gfind",
    "string.buffer", "table.new", "table.clear", "coroutine.close" }
  for _, path in ipairs(FIELDS) do
    it("a rule has no " .. path, function()
      assert.same({ kind = "nil" }, (run(("ctx.emit('out', { kind = type(%s) })"):format(path))))
    end)
  end

  it("control: plain LuaJIT dumps a function, and loads it again", function()
    assert.equal(7, plain "return loadstring(string.dump(function() return 7 end))()")
  end)

  for _, name in ipairs { "ffi", "io", "os", "debug", "jit", "jit.util", "jit.opt", "package", "bit", "string", "_G", "table.new",
    "table.clear", "string.buffer", "tidemill.kernel", "tidemill.call", "tidemill.environment", "tidemill.value", "tidemill.cdef",
    "tidemill.engine", "lib", "lib.", "lib..", "lib...rule", "lib/../rule", "lib.../etc/passwd", "../rule", "/etc/passwd", "rule",
    "lib.a/../../rule", "lib.\\0", "Tidemill", "tidemill.", "lib.__index" } do
    it("a rule cannot require " .. ("%q"):format(name), function()
      local out, letter = run(("ctx.emit('out', { kind = type(require '%s') })"):format(name))
      assert.is_nil(out)
      assert.matches("not found", letter.message, 1, true)
      assert.matches("not found", refused { ["rule.lua"] = rule("", ("require '%s'"):format(name)) }, 1, true)
    end)
  end

  it("`require` takes no name that only says to be one", function()
    local _, letter = run [[require(setmetatable({}, { __tostring = function() return "tidemill" end }))]]
    assert.matches("expects the name of a module", letter.message, 1, true)
  end)

  it("control: plain LuaJIT requires what it likes", function()
    assert.equal("function", plain "return type(require('ffi').cdef)")
    assert.equal("table", plain "return type(require 'tidemill.call')")
  end)

  local bytecode = string.dump(loadstring "return { stream = 's', on_event = print }")

  it("a rule file, or a file of its lib, is no bytecode", function()
    assert.matches("rule.lua:1: this is bytecode", refused { ["rule.lua"] = bytecode }, 1, true)
    assert.matches("bytecode", refused {
      ["rule.lua"] = rule("", "require 'lib.part'"), ["lib/part.lua"] = bytecode }, 1, true)
    local kit = testing.load { ["rule.lua"] = rule "require 'lib.part'", ["lib/part.lua"] = bytecode }
    kit:event("s", {})
    assert.matches("bytecode", kit:letters()[1].message, 1, true)
  end)

  it("bytecode hides neither behind a byte order mark nor behind a first line of a script", function()
    for _, head in ipairs { "\239\187\191", "#!/usr/bin/luajit\n", "#\n", "\n", " " } do
      refused { ["rule.lua"] = head .. bytecode }
    end
  end)

  it("control: plain LuaJIT loads these very bytes", function()
    assert.equal("s", assert(loadstring(bytecode))().stream)
  end)

  it("collectgarbage counts, and does nothing else", function()
    assert.is_true(run "ctx.emit('out', { kb = collectgarbage 'count' })".kb > 0)
    for _, what in ipairs { "'stop'", "'collect'", "'step'", "'setpause', 1", "'setstepmul', 1", "", "nil" } do
      local _, letter = run(("collectgarbage(%s)"):format(what))
      assert.matches("collectgarbage: only", letter.message, 1, true)
    end
  end)

  it("names and texts become no code: of fields, filters, keys and schemas", function()
    local evil = [["] = error("inside") --]]
    for _, name in ipairs { evil, "'" .. evil, "]]" .. evil, "\\" .. evil, "a\n" .. evil, "a\r" .. evil, "a\0" .. evil, "%d$when" } do
      local heads = {
        ("key = %q,"):format(name), ("when = { [%q] = { 'v', 'w' } },"):format(name), ("when = { [%q] = 'v' },"):format(name),
        ("event = { [%q] = 'string' },"):format(name), ("when = { v = %q },"):format(name),
      }
      for _, head in ipairs(heads) do
        local kit = testing.load { ["rule.lua"] = rule("for k, v in pairs(event) do ctx.emit('out', { k = k, v = v }) end", "", head) }
        kit:event("s", head:find "v = " and { v = name } or { [name] = "v" })
        assert.same({}, kit:letters())
        assert.same(head:find "v = " and { k = "v", v = name } or { k = name, v = "v" }, kit:effects()[1].fields)
      end
    end
  end)
end)

describe("breaking out between rules:", function()
  it("what one rule writes into a library, another does not see", function()
    local kit = together {
      a = [[
        for _, library in ipairs { string, math, table, bit, coroutine, require "tidemill" } do
          for name in pairs(library) do library[name] = function() return "broken" end end
          library.left = "here"
        end
        string.format = nil]],
      b = [[
        ctx.emit("out", { string.upper "x", math.floor(1.5), table.concat { "y" }, bit.band(3, 1), tostring(string.left),
          tostring(require "tidemill".left), coroutine.wrap(function() return "z" end)(), type(string.format),
          require("tidemill").duration "1s", ("m"):rep(2), math.random() ~= "broken" and 1 } and {
          text = string.upper "x" .. table.concat { "y" } .. coroutine.wrap(function() return "z" end)() .. ("m"):rep(2),
          number = math.floor(1.5) + bit.band(3, 1) + require("tidemill").duration "1s", left = string.left,
          left_too = require("tidemill").left, form = type(string.format), drawn = type(math.random()) })]],
    }
    local effects, letters = kit:effects(), kit:letters()
    assert.same({ text = "Xyzmm", number = 1002, form = "function", drawn = "number" }, effects[1].fields)
    assert.same(effects[1].fields, effects[2].fields)
    for _, letter in ipairs(letters) do assert.equal("a", letter.rule) end -- the second time it has broken its own ipairs' table
  end)

  it("the engine goes on when a rule has broken its own libraries", function()
    local kit = together { a = { [[ctx.state = { n = (ctx.state and ctx.state.n or 0) + 1 }
      ctx.emit("out", { n = ctx.state.n }) ctx.log.info("n", ctx.state.n)]],
      "for _, l in ipairs { string, math, table, bit, coroutine } do for k in pairs(l) do l[k] = error end end" } }
    assert.same({}, kit:letters())
    assert.equal(2, #kit:effects())
    assert.same({ n = 2 }, kit:state "a")
  end)

  it("each rule has a lib of its own", function()
    local kit = testing.load {
      ["a.lua"] = rule([[lib.n = lib.n + 1]], "local lib = require 'lib.part'"),
      ["b.lua"] = rule([[ctx.emit("out", { n = lib.n, same = lib == require "lib.part" })]], "local lib = require 'lib.part'"),
      ["lib/part.lua"] = "return { n = 0 }",
    }
    kit:event("s", {})
    kit:event("s", {})
    assert.same({ n = 0, same = true }, kit:effects()[2].fields)
  end)

  it("each rule has an event of its own", function()
    local kit = together {
      a = [[event.n = "changed" event.list[1] = "changed" setmetatable(event, { __index = error })]],
      b = [[ctx.emit("out", { n = event.n, first = event.list[1], other = type(event.other) })]],
    }
    assert.same({ n = 1, first = 1, other = "nil" }, kit:effects()[1].fields)
    assert.same({}, kit:letters())
  end)

  it("the string metatable is out of reach", function()
    assert.same({ kind = "string" }, (run [[ctx.emit("out", { kind = getmetatable "" })]]))
    for _, attack in ipairs { "getmetatable('').__index = {}", "setmetatable('', {})", "rawset(getmetatable(''), '__index', 1)",
      "rawset('', 'x', 1)", "('').x = 1" } do
      local _, letter = run(attack)
      assert.equal("error", letter.reason)
    end
    assert.equal("X", ("x"):upper())
  end)

  it("control: plain LuaJIT changes what all strings can do", function()
    assert.equal("mine", plain [[
      local methods = getmetatable("").__index
      methods.mine = function() return "mine" end
      local got = ("x"):mine()
      methods.mine = nil
      return got]])
  end)

  it("globals cannot be written, neither while loading nor later", function()
    for _, attack in ipairs { "x = 1", "string = nil", "pcall = error", "require = nil", "function print() end" } do
      local _, letter = run(attack)
      assert.matches("writing the global", letter.message, 1, true)
      assert.matches("writing the global", refused { ["rule.lua"] = rule("", attack) }, 1, true)
    end
  end)

  local PROTECTED = { "ctx", "ctx.redis", "ctx.log" }
  local WRITES = { "t.emit = 1", "t.x = 1", "t[1] = 1", "rawset(t, 'emit', 1)", "rawset(t, 'state', 1)", "rawset(t, 'key', 'k')",
    "table.insert(t, 1)", "table.insert(t, 1, 1)", "table.move({ 1 }, 1, 1, 1, t)", "setmetatable(t, nil)", "setmetatable(t, {})",
    "getmetatable(t).__index = 1", "getmetatable(t).__metatable = nil", "require('tidemill').array(t)",
    "t[setmetatable({}, { __tostring = function() return 'state' end })] = 1" }
  for _, name in ipairs(PROTECTED) do
    it(name .. " cannot be written", function()
      for _, write in ipairs(WRITES) do
        local _, letter = run(("local t = %s  %s"):format(name, write))
        assert(letter, write .. " went through")
        assert.equal("error", letter.reason)
        local out = run(("local t = %s  pcall(function() %s end)  ctx.emit('out', { key = ctx.key })"):format(name, write))
        assert.same({ key = "" }, out)
      end
    end)

    it(name .. " has nothing to take away", function()
      local out = run(([[
        local t = %s
        table.sort(t) table.remove(t) table.remove(t, 1) table.concat(t)
        local names = {}
        for name in pairs(t) do names[#names + 1] = name end
        ctx.emit("out", { names = table.concat(names), kind = getmetatable(t) })]]):format(name))
      assert.same({ names = name == "ctx" and "key" or "", kind = name:match "%w+$" }, out)
    end)
  end

  it("control: a plain metatable with __newindex gives way to rawset, table.insert and table.move", function()
    assert.equal("written", plain [[
      local t = setmetatable({}, { __newindex = error })
      rawset(t, "x", "written")
      table.insert(t, 1)
      table.move({ 1, 2 }, 2, 2, 2, t)
      return #t == 2 and t.x]])
  end)

  it("arrays, ext, int64 and null keep what they are", function()
    local out, letter = run([[
      local t = require "tidemill"
      local function fails(f, ...) return not pcall(f, ...) end
      local int, list, ext = t.int64 "9007199254740993", t.array {}, t.ext(1, "x")
      ctx.emit("out", {
        int = int, null = { 1, t.null }, list = list, kinds = tostring(getmetatable(int)) .. tostring(getmetatable(t.null))
          .. getmetatable(list) .. getmetatable(ext),
        a = fails(function() int.value = 1 end), b = fails(function() int.is_unsigned = true end),
        c = fails(function() t.null.is_null = false end), d = fails(setmetatable, int, {}),
        e = fails(setmetatable, list, {}), f = fails(setmetatable, ext, {}), g = fails(function() return int[0] end),
        h = fails(function() return int + 1 end), i = fails(function() return t.null[0] end), j = fails(int), k = fails(t.null),
        l = fails(rawset, int, "value", 1), m = fails(table.insert, int, 1), n = fails(function() int.x = 1 end),
        o = fails(function() return int.x end), p = fails(next, int), q = fails(pairs, t.null) })]])
    assert.is_nil(letter)
    assert.equal("ffiffiarrayext", out.kinds)
    assert.equal("9007199254740993", tostring(out.int))
    for name in ("abcdefghijklmnopq"):gmatch "." do assert(out[name], name .. " went through") end
  end)

  it("a number of 64 bits from a literal or an int64 leads nowhere", function()
    for _, v in ipairs { "1LL", "1ULL", "1i", "require('tidemill').int64('9007199254740993').value" } do
      local out = run(([[
        local v = %s
        local ok = pcall(function() return v.x end) or pcall(function() v[0] = 1 end) or pcall(v)
          or pcall(setmetatable, v, {}) or pcall(ctx.emit, "no", { v = v })
        ctx.emit("out", { ok = ok })]]):format(v))
      assert.same({ ok = false }, out)
    end
  end)

  it("what a rule forges does not run while it is packed", function()
    for _, kind in ipairs { "array", "ext", "ctx", "redis", "ask", "unwind", "string" } do
      local _, letter = run(([[
        local ran = 0
        local function run() ran = ran + 1 ctx.emit("no", {}) return 5 end
        local forged = setmetatable({ x = 1 }, { __metatable = %q, __index = run, __len = run, __pairs = run, __ipairs = run,
          __tostring = run, __call = run, __eq = run, __lt = run, __concat = run, __gc = run, __mode = "kv" })
        pcall(ctx.emit, "maybe", { forged = forged })
        pcall(ctx.emit, "maybe", forged)
        error("ran " .. ran)]]):format(kind))
      assert.matches("ran 0", letter.message, 1, true)
      local found
      local all = testing.load { ["rule.lua"] = rule(([[
        local ran = 0
        local function run() ran = ran + 1 return 5 end
        ctx.state = setmetatable({ x = 1 }, { __metatable = %q, __index = run, __len = run, __pairs = run })
        ctx.emit("out", { ran = ran })]]):format(kind)) }
      all:event("s", {})
      for _, effect in ipairs(all:effects()) do found = effect.fields end
      assert.is_true(found == nil or found.ran == 0)
    end
  end)

  it("a forged ext is refused, whatever it holds", function()
    for _, fields in ipairs { "type = 1e9, bytes = ''", "type = 1, bytes = {}", "type = '1', bytes = ''", "bytes = ''", "type = 0 / 0" } do
      local _, letter = run(("ctx.emit('out', { e = setmetatable({ %s }, { __metatable = 'ext' }) })"):format(fields))
      assert.matches("an ext without type and bytes", letter.message, 1, true)
    end
  end)

  it("a ctx that was kept works neither in `when`, nor in `key`, nor while loading", function()
    for _, field in ipairs { "when", "key" } do
      for _, use in ipairs { "kept.emit('no', {})", "kept.redis.set('k', 1)", "kept.redis.get('k')", "kept.dead('x')",
        "kept.reason('x')", "kept.state = {}", "return kept.state", "return kept.id", "return kept.now" } do
        local kit = testing.load { ["rule.lua"] = rule("kept = ctx", "local kept",
          ("%s = function() if kept then %s end return 'k' end,"):format(field, (use:gsub("^return ", "local _ = ")))) }
        kit:event("s", {})
        assert.same({}, kit:letters())
        kit:event("s", {})
        assert.same({}, kit:effects())
        local letter = kit:letters()[1]
        assert(letter, field .. ": " .. use .. " went through")
        assert.matches("only valid during the call", letter.message, 1, true)
      end
    end
  end)
end)

describe("control flow:", function()
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

  it("an error may be any value", function()
    for value, said in pairs {
      ["'text', 0"] = "text", ["42"] = "42", ["nil"] = "nil value", ["{}"] = "table value", ["true"] = "boolean value",
      ["print"] = "function value",
      ["ctx"] = "table value", ["ctx.redis"] = "table value", ["coroutine.create(print)"] = "thread value",
      ["require('tidemill').null"] = "cdata value", ["event"] = "table value",
      ["setmetatable({}, { __tostring = function() error 'inner' end })"] = "table value",
      ["setmetatable({}, { __tostring = function() return {} end })"] = "table value",
      ["setmetatable({}, { __index = error, __eq = error, __metatable = 'unwind' })"] = "table value",
      ["('x'):rep(1e6), 0"] = "xxx",
    } do
      local kit = testing.load { ["rule.lua"] = rule(("ctx.emit('no', {}) error(%s)"):format(value)) }
      kit:event("s", {})
      local letter = kit:letters()[1]
      assert.equal("error", letter.reason)
      assert.matches(said, letter.message, 1, true)
      assert.is_true(#letter.message < 5000)
      assert.same({}, kit:effects())
    end
  end)

  it("texts that are none do not hurt ctx", function()
    for _, odd in ipairs { "{}", "setmetatable({}, { __tostring = function() return {} end })", "nil", "print", "ctx", "1LL" } do
      local _, letter = run((("print(X) ctx.log.info(X) ctx.reason(X) ctx.dead(X)"):gsub("X", odd)))
      assert.equal("dead", letter.reason)
    end
    local _, letter = run "ctx.dead(setmetatable({}, { __tostring = function() error 'inner' end }))"
    assert.same({ "error", "inner" }, { letter.reason, letter.message:match "inner" })
  end)

  it("errors in error handlers, and without end, are a letter", function()
    for _, body in ipairs {
      "xpcall(error, function() error 'in the handler' end)",
      "local function f(e) local ok = xpcall(error, f, e) return ok end f()",
      "local function f() return 1 + f() end f()",
      "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return 1 + t[k] end return t.x",
    } do
      local kit = testing.load { ["rule.lua"] = rule("ctx.emit('no', {}) " .. body), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", {})
      assert.equal("rule", kit:letters()[1].rule)
      assert.same({ { stream = "witness", fields = {} } }, kit:effects())
    end
  end)

  it("builtins as handlers do nothing that a rule could not do", function()
    for _, f in ipairs { "error", "print", "pcall", "setmetatable", "rawset", "next", "coroutine.yield", "coroutine.wrap", "table.insert",
      "require", "collectgarbage", "tostring", "coroutine.resume", "xpcall", "assert", "math.random", "getmetatable" } do
      local kit = testing.load {
        ["rule.lua"] = ("return { stream = 's', on_event = %s }"):format(f), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", { a = 1 })
      kit:event("s", { a = 1 })
      assert.equal(2, #kit:effects())
    end
  end)

  it("a builtin may be a filter or a key, too", function()
    for _, head in ipairs { "when = print,", "key = tostring,", "key = error,", "when = coroutine.yield," } do
      local kit = testing.load { ["rule.lua"] = rule("", "", head), ["witness.lua"] = rule "ctx.emit('witness', {})" }
      kit:event("s", {})
      assert.equal(1, #kit:effects())
    end
  end)
end)

describe("the engine itself:", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function()
    if e then e:kill() end
    server:stop()
    e = nil
  end)

  local WITNESS = rule "ctx.redis.rpush('witness', ctx.id)"

  local function start(rules, settings)
    rules["witness.lua"] = WITNESS
    e = engine.start { server = server, rules = rules, settings = settings }
  end

  it("knows no more names than the kit, and strings have no more methods", function()
    local names = { "io", "os", "debug", "ffi", "jit", "package", "loadstring", "load", "dofile", "loadfile", "getfenv", "setfenv",
      "newproxy", "_G", "module", "gcinfo" }
    start { ["rule.lua"] = rule(([[
      local found = {}
      for name in ("%s"):gmatch "%%S+" do
        if pcall(function() return env[name] end) then found[#found + 1] = name end
      end
      for _, name in ipairs { "ffi", "io", "os", "debug", "jit.util", "package", "tidemill.kernel", "tidemill.engine", "tidemill.call",
        "lib/../rule", "../rule" } do
        if pcall(require, name) then found[#found + 1] = name end
      end
      for _, f in ipairs { function() return io end, function() return debug end, function() return load end } do
        if pcall(f) then found[#found + 1] = "a global" end
      end
      if ("").dump then found[#found + 1] = "dump" end
      if pcall(setmetatable, "", {}) or getmetatable "" ~= "string" then found[#found + 1] = "the string metatable" end
      ctx.redis.set("found", "found: " .. table.concat(found, " "))]]):format(table.concat(names, " ")),
      "local env = setmetatable({}, { __index = function(_, name) error(name) end })") }
    server:call("XADD", "s", "1-1", "n", "1")
    e:wait_position("s", "1-1")
    assert.equal("found: ", server:call("GET", "found"))
    e:stop()
  end)

  it("lets nothing catch ctx.dead, and no rule into another's libraries", function()
    start {
      ["a.lua"] = rule [[
        string.upper, math.floor = nil, nil
        pcall(function() ctx.redis.x = 1 end)
        pcall(rawset, ctx, "emit", print)
        xpcall(function() coroutine.wrap(function() pcall(ctx.dead, "for good") end)() end, function() end)
        ctx.redis.rpush("no", 1)]],
      ["b.lua"] = rule "ctx.redis.rpush('b', string.upper 'x' .. math.floor(1.5) .. type(ctx.emit))",
    }
    for n = 1, 200 do server:call("XADD", "s", "1-" .. n, "n", n) end -- enough of them to be compiled
    e:wait_position("s", "1-200")
    e:wait_done()
    assert.same({ 0, 200, 200 }, { server:call("LLEN", "no"), server:call("LLEN", "b"), server:call("LLEN", "witness") })
    assert.equal("X1function", server:call("LINDEX", "b", 199))
    local letters = e:letters()
    assert.equal(200, #letters)
    for _, letter in ipairs(letters) do assert.same({ "a", "dead", "for good" }, { letter.rule, letter.reason, letter.message }) end
    e:stop()
  end)

  it("refuses bytecode", function()
    local bytecode = string.dump(loadstring "return { stream = 's', on_event = print }")
    start { ["rule.lua"] = bytecode }
    assert.is_true(e.process:wait(5).code > 0)
    assert.matches("this is bytecode", e:log(), 1, true)
  end)

  it("makes letters of events that are nested too deep or have too many elements", function()
    start({ ["rule.lua"] = rule "ctx.redis.rpush('rule', ctx.id)" }, { limits = { event_depth = 4, event_elements = 100 } })
    local function deep(n) return "\x81\xa1a" .. ("\x91"):rep(n - 1) .. "\x01" end
    local events = {
      deep(4), deep(5), deep(100000), "\x81\xa1a\xdc\x00\x10" .. ("\x01"):rep(16), "\x81\xa1a\xdc\x00\xc8" .. ("\x01"):rep(200),
      "\x81\xa1a\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", '{"a":' .. ("["):rep(100000), '{"a":[[[1]]]}', "\x80",
    }
    for n, bytes in ipairs(events) do server:call("XADD", "s", "1-" .. n, "data", bytes) end
    e:wait_position("s", "1-" .. #events)
    e:wait_done()
    local refused_ids = {}
    for _, letter in ipairs(e:letters()) do
      assert.same({ "decode", "" }, { letter.reason, letter.rule })
      refused_ids[#refused_ids + 1] = letter.id
    end
    assert.same({ "1-2", "1-3", "1-5", "1-6", "1-7", "1-8" }, refused_ids)
    assert.same({ "1-1", "1-4", "1-9", "1-10" }, server:call("LRANGE", "rule", 0, -1))
    e:stop()
  end)

  it("takes keys that are no texts: numbers of any kind, booleans, nil, lists, and keys that stand there twice", function()
    start { ["rule.lua"] = rule [[
      local count = 0
      for k, v in pairs(event) do count = count + 1 end
      ctx.redis.rpush("rule", count .. ":" .. tostring(event[1]))]] }
    local nan, inf = "\xcb\x7f\xf8" .. ("\0"):rep(6), "\xcb\x7f\xf0" .. ("\0"):rep(6)
    local events = {
      "\x81\x01\x07", "\x82\x01\x07\xcb\x3f\xf0" .. ("\0"):rep(6) .. "\x08", "\x81" .. nan .. "\x01", "\x81" .. inf .. "\x01",
      "\x82\xc3\x01\xc2\x02", "\x81\xc0\x01", "\x81\x91\x01\x01", "\x81\x80\x01", "\x81\xff\x01", "\x82\xa1a\x01\xa1a\x02",
      "\x81\xcb\xff\xf8\xde\xad\xbe\xef\xde\xad\x01", "\x81\xcf" .. ("\xff"):rep(8) .. "\x01", "\x81\xd3\x80" .. ("\0"):rep(7) .. "\x01",
    }
    for n, bytes in ipairs(events) do server:call("XADD", "s", "1-" .. n, "data", bytes) end
    e:wait_position("s", "1-" .. #events)
    e:wait_done()
    assert.same({}, e:letters())
    assert.same({ "1:7", "1:8", "0:nil", "1:nil", "2:nil", "0:nil", "0:nil", "0:nil", "1:nil", "1:nil", "0:nil", "1:nil", "1:nil" },
      server:call("LRANGE", "rule", 0, -1))
    assert.equal(#events, server:call("LLEN", "witness"))
    e:stop()
  end)

  -- Numbers that all fall on one place of LuaJIT's hash part of up to 2^17 nodes: hashrot of (low, high * 2) run backwards.
  local function colliding(count)
    local bit, ffi = require "bit", require "ffi"
    local bits, list, c = ffi.new "union { uint32_t word[2]; double number; uint8_t byte[8]; }", {}, 0
    while #list < count do
      c = c + 1
      local low = bit.band(bit.bxor(c, bit.rol(c, 13)), 0x1ffff)
      for j = 0, 16383 do
        local high = bit.ror(bit.bor(low, bit.lshift(j, 17)), 19)
        bits.word[0] = bit.bxor(bit.tobit(c + bit.rol(high, 14)), high)
        bits.word[1] = bit.rshift(high, 1)
        if bit.band(high, 1) == 0 and bits.number - bits.number == 0 and #list < count then
          list[#list + 1] = { number = bits.number, bytes = "\xcb" .. ffi.string(bits.byte, 8):reverse() }
        end
      end
    end
    return list
  end

  it("control: colliding numbers as keys make a table slow", function()
    local keys = colliding(8000)
    local function fill(key_of)
      local t, began = {}, os.clock()
      for n = 1, #keys do t[key_of(n)] = n end
      return os.clock() - began, t
    end
    local slow = fill(function(n) return keys[n].number end)
    local fast = fill(function(n) return n + 0.5 end)
    assert.is_true(slow > 5 * fast, ("%.4f s and %.4f s"):format(slow, fast))
  end)

  it("survives an event of colliding keys, and loses nothing behind it", function()
    local parts = {}
    for n, key in ipairs(colliding(16000)) do parts[n] = key.bytes .. "\x01" end
    start { ["rule.lua"] = rule "ctx.redis.rpush('rule', ctx.id)" }
    server:call("XADD", "s", "1-1", "data", "\xde\x3e\x80" .. table.concat(parts))
    server:call("XADD", "s", "1-2", "n", 1)
    e:wait_position("s", "1-2", 30)
    assert.same({ "1-1", "1-2" }, server:call("LRANGE", "witness", 0, -1))
    e:stop()
  end)
end)
