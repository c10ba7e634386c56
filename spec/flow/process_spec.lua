-- The hands of all other specs: programs, files and waiting.
local files = require "spec.support.files"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local function is_alive(pid)
  -- A zombie does not count: it is dead and waits for its parent.
  local stat = files.read_file("/proc/" .. pid .. "/stat")
  return stat ~= nil and not stat:match("%) [ZX]")
end

describe("a process under test", function()
  it("gets arguments, environment, input and folder, and tells its status and output", function()
    local folder = files.temp_folder()
    local code, out, err = process.run { "sh", "-c", 'cat; pwd; echo "$1 $A $B"; echo oops >&2; exit 7',
      "name", "two words", env = { A = 1, B = false }, folder = folder, input = "in\0put\n" }
    assert.same({ 7, "in\0put\n" .. folder .. "\ntwo words 1 \n", "oops\n" }, { code, out, err })
    files.remove_folder(folder)
  end)

  it("tells the signal that ended it", function()
    local p = process.start { "sleep", "60" }
    assert.is_true(p:is_running())
    p:signal("TERM")
    assert.same({ signal = 15 }, p:wait(2))
    assert.is_false(p:is_running())
    assert.same({ signal = 15 }, p:wait(2)) -- also when asked again
    p:signal("KILL") -- nobody is hit
  end)

  it("is waited for until the deadline only", function()
    local p = process.start { "sleep", "60" }
    local began = wait.now()
    assert.has_error(function() p:wait(0.1) end)
    assert.truthy(wait.now() - began < 1)
    assert.same({ signal = 9 }, p:kill())
    assert.has_error(function() process.run({ "sleep", "60" }, 0.1) end)
  end)

  it("that cannot be started ends with 127", function()
    assert.equal(127, (process.run { "/no/such/program" }))
    assert.equal(127, (process.run { "true", folder = "/no/such/folder" }))
  end)

  it("shows what it said when its status is another one", function()
    local folder = files.temp_folder()
    local p = process.start { "sh", "-c", "echo the cause >&2; exit 3", stderr = folder .. "/err" }
    local ok, why = pcall(p.expect, p, 0)
    assert.is_false(ok)
    assert.truthy(why:find("exit status 3", 1, true) and why:find("the cause", 1, true), why)
    files.remove_folder(folder)
  end)

  it("inherits no descriptors but its own three", function()
    local _, out = process.run { "ls", "/proc/self/fd" }
    assert.equal("0\n1\n2\n3\n", out) -- and that of the folder which ls reads
  end)

  for how, script in pairs {
    ["is killed"] = "kill -9 $$",
    ["ends"] = "exit 0",
  } do
    it("dies when the specs' process " .. how, function()
      local folder = files.temp_folder()
      local code = ([[
        package.path = %q
        local p = require("spec.support.process").start { "sleep", "60" }
        require("spec.support.files").write_file(%q, tostring(p.pid))
        if %q == "exit 0" then os.exit(0) end
        require("ffi").C.kill(require("ffi").C.getpid(), 9)
      ]]):format(package.path, folder .. "/pid", script)
      files.write_file(folder .. "/child.lua", code)
      process.start({ "luajit", folder .. "/child.lua" }):wait(5)
      local pid = assert(tonumber(files.read_file(folder .. "/pid")))
      wait.until_true(function() return not is_alive(pid) end, 5, "the grandchild to die")
      files.remove_folder(folder)
    end)
  end
end)

describe("waiting", function()
  it("returns what the fact returned", function()
    local n = 0
    assert.equal(3, wait.until_true(function()
      n = n + 1
      return n >= 3 and n
    end))
  end)

  it("takes an error for not yet", function()
    local n = 0
    assert.is_true(wait.until_true(function()
      n = n + 1
      return n > 2 or error("too early")
    end))
  end)

  it("tells what it waited for and the last value", function()
    local ok, why = pcall(wait.until_true, function() return nil end, 0.02, "a miracle")
    assert.is_false(ok)
    assert.truthy(why:find("waited 0.02s for a miracle; last value: nil", 1, true), why)
    ok, why = pcall(wait.until_true, function() error("boom", 0) end, 0.02, "a miracle")
    assert.is_false(ok)
    assert.truthy(why:find("last error: boom", 1, true), why)
    ok, why = pcall(wait.until_equal, 3, function() return 2 end, 0.02, "three")
    assert.is_false(ok)
    assert.truthy(why:find("(expected 3, got 2)", 1, true), why)
  end)
end)

describe("a temporary folder", function()
  it("goes with the Lua state, and only in the process that made it", function()
    local code = ([[
      package.path = %q
      local path = require("spec.support.files").temp_folder()
      require("spec.support.process").run { "true" }
      assert(os.execute("test -d " .. path) == 0)
      print(path)
    ]]):format(package.path)
    local folder = files.temp_folder()
    files.write_file(folder .. "/child.lua", code)
    local status, out = process.run { "luajit", folder .. "/child.lua" }
    assert.equal(0, status)
    assert.matches("^/tmp/tidemill%-", out)
    assert.is_false(files.exists(out:sub(1, -2)))
    files.remove_folder(folder)
  end)
end)
