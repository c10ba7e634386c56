-- Host access: a rule that wants to read files, run programs or load code of its own. What it can see is a whitelist (design 7,
-- "Environment"); each control shows what the same text reaches in plain LuaJIT.
local attack = require "spec.support.attack"
local testing = require "tidemill.testing"
local rule, run, refused, plain = attack.rule, attack.run, attack.refused, attack.plain

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

describe("all that a rule can reach by walking:", function()
  local environment = require "tidemill.environment"
  local LIBRARIES = { io = true, os = true, debug = true, package = true, jit = true, ffi = true }
  local LOADERS = { "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv", "newproxy", "module", "require", "gcinfo",
    "collectgarbage" }

  -- Functions and tables that no rule may have, by name.
  local function forbidden()
    local list = {}
    for name in pairs(LIBRARIES) do
      local library = name == "ffi" and require "ffi" or _G[name]
      list[library] = name
      for field, v in pairs(library) do
        if type(v) == "function" or type(v) == "table" then list[v] = name .. "." .. field end
      end
    end
    for _, name in ipairs(LOADERS) do list[_G[name]] = name end
    list[_G], list[string], list[string.dump], list[math.randomseed] = "_G", "string", "string.dump", "math.randomseed"
    list[debug.getregistry()] = "the registry"
    for name, module in pairs(package.loaded) do
      if name:find "^tidemill" then list[module] = name end
    end
    return list
  end

  -- Names of the forbidden things found, and how many values were seen: by fields, keys and metatables, as
  -- getmetatable gives them to a rule.
  local function walk(from, get_metatable)
    local bad, found, seen, count, queue = forbidden(), {}, {}, 0, { from }
    while #queue > 0 do
      local v = table.remove(queue)
      local kind = type(v)
      if v ~= nil and not seen[v] then
        seen[v], count = true, count + 1
        found[#found + 1] = bad[v]
        if kind == "table" then
          for key, field in next, v do
            queue[#queue + 1], queue[#queue + 2] = key, field
          end
        end
        if kind == "table" or kind == "string" or kind == "cdata" then queue[#queue + 1] = get_metatable(v) end
      end
    end
    return found, count
  end

  it("holds nothing of the host's or the engine's", function()
    local _, _, kit = run "ctx.state = { n = 1 }"
    local env = environment.create(function() end, function() end)
    local visible = {}
    for _, name in ipairs { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawset",
      "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall", "collectgarbage", "math", "string", "table", "bit",
      "coroutine", "require" } do
      visible[name] = env[name]
    end
    local tidemill = require("tidemill.rulebook").copy_of_module(require "tidemill")
    local reached, count = walk({ env, visible, tidemill, kit.rules[1].ctx, kit.rules[1].ctx.log, kit.rules[1].ctx.redis,
      value = tidemill.int64 "1", null = tidemill.null, list = tidemill.array {}, ext = tidemill.ext(1, "") }, env.getmetatable)
    assert.same({}, reached)
    assert.is_true(count > 100, count)
  end)

  it("control: from one table of plain LuaJIT the same walk finds it all", function()
    local found = walk({ string, package.loaded }, getmetatable)
    local names = {}
    for _, name in ipairs(found) do names[name] = true end
    for _, name in ipairs { "io.open", "os.execute", "debug.getregistry", "loadstring", "string.dump", "ffi.load" } do
      assert.is_true(names[name], name)
    end
  end)
end)

describe("host access, in the engine:", function()
  it("knows no more names than the kit, and strings have no more methods", function()
    attack.with_engine(function(server, start)
      local names = { "io", "os", "debug", "ffi", "jit", "package", "loadstring", "load", "dofile", "loadfile", "getfenv", "setfenv",
        "newproxy", "_G", "module", "gcinfo" }
      local e = start { ["rule.lua"] = rule(([[
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
  end)

  it("refuses bytecode", function()
    attack.with_engine(function(server, start)
      local bytecode = string.dump(loadstring "return { stream = 's', on_event = print }")
      local e = start { ["rule.lua"] = bytecode }
      assert.is_true(e.process:wait(5).code > 0)
      assert.matches("this is bytecode", e:log(), 1, true)
    end)
  end)
end)
