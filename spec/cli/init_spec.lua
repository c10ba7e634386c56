-- What `tidemill init` makes works as it is: checked, tested with the kit, and run with a Redis of its own.
require "spec.support.runtime"
local cjson = require "cjson"
local files = require "spec.support.files"
local process = require "spec.support.process"
local program = require "spec.support.program"
local testing = require "tidemill.testing"

local HERE = io.popen("pwd"):read "*l"
local NAMES = { "tidemill.lua", "rules/loyalty.lua", "spec/loyalty_spec.lua", "spec/loyalty.cases.jsonl", ".luarc.json" }

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

describe("tidemill init", function()
  local folder

  before_each(function()
    folder = files.temp_folder()
  end)

  local function init(...) return program.run({ "init", ... }, { folder = folder }) end

  it("makes a project in a new folder, and says what and what next", function()
    local code, out, err = init "deep/shop"
    assert.same({ 0, "" }, { code, err })
    assert.equal(1, out:find "Made in deep/shop:\n")
    for _, name in ipairs(NAMES) do
      assert.is_true(exists(folder .. "/deep/shop/" .. name), name)
      assert.matches("\n  " .. name .. " ", out, 1, true)
    end
    assert.matches("\n  cd deep/shop\n", out, 1, true)
    for line in out:gmatch "[^\n]+" do assert.is_true(#line <= 100, line) end
  end)

  it("makes it in the current folder, beside what is there", function()
    files.write_file(folder .. "/README", "mine")
    local code, out = init()
    assert.equal(0, code)
    assert.is_nil(out:find("\n  cd ", 1, true))
    assert.equal("mine", files.read_file(folder .. "/README"))
    assert.is_true(exists(folder .. "/rules/loyalty.lua"))
  end)

  it("overwrites nothing, and makes nothing then", function()
    files.make_folder(folder .. "/spec")
    files.write_file(folder .. "/spec/loyalty_spec.lua", "mine")
    local code, out, err = init()
    assert.same({ 1, "" }, { code, out })
    assert.equal(1, err:find("tidemill: spec/loyalty_spec.lua is there already", 1, true), err)
    assert.equal("mine", files.read_file(folder .. "/spec/loyalty_spec.lua"))
    assert.is_false(exists(folder .. "/tidemill.lua"))
    os.remove(folder .. "/spec/loyalty_spec.lua")
    assert.equal(0, os.execute(("ln -s nowhere '%s/.luarc.json'"):format(folder)))
    code, out, err = init()
    assert.same({ 1, "" }, { code, out })
    assert.matches("tidemill: .luarc.json is there already", err, 1, true)
    assert.is_false(exists(folder .. "/tidemill.lua"))
  end)

  it("says what it cannot make", function()
    files.write_file(folder .. "/file", "mine")
    local code, out, err = init "file"
    assert.same({ 1, "" }, { code, out })
    assert.matches("cannot make file/tidemill.lua: Not a directory", err, 1, true)
    code, out, err = init "file/below"
    assert.same({ 1, "" }, { code, out })
    assert.matches("cannot make file/below/tidemill.lua: Not a directory", err, 1, true)
    files.make_folder(folder .. "/half")
    files.write_file(folder .. "/half/spec", "mine")
    code, out, err = init "half"
    assert.same({ 1, "" }, { code, out })
    assert.matches("cannot make half/spec/loyalty_spec.lua: Not a directory", err, 1, true)
    assert.is_false(exists(folder .. "/half/tidemill.lua")) -- nothing half made, that would stand in the way next time
    code, out, err = init "/proc/none"
    assert.same({ 1, "" }, { code, out })
    assert.matches("cannot make the folder /proc/none: ", err, 1, true)
    code, out, err = init ""
    assert.same({ 2, "" }, { code, out })
    assert.matches("the folder's name is empty", err, 1, true)
    code, out, err = init(("x"):rep(5000))
    assert.same({ 2, "" }, { code, out })
    assert.matches("the folder's name is too long", err, 1, true)
    assert.equal(1, (program.shell('"$tidemill" init full > /dev/full', { folder = folder })))
  end)

  it("quotes the folder's name for a shell, and shows it safely", function()
    local _, out = init "a b's"
    assert.matches("  cd 'a b'\\''s'\n", out, 1, true)
    _, out = init "x\27[2J"
    assert.equal(1, out:find("Made in x\\x1b[2J:\n", 1, true))
  end)

  it("makes rules and settings without mistakes", function()
    init()
    local code, out, err = program.run({ "check" }, { folder = folder })
    assert.same({ 0, "", "" }, { code, out, err })
  end)

  it("makes specs that pass", function()
    init()
    local code, out, err = process.run({ "sh", "-c", 'exec luajit -joff "$(command -v busted)" spec', folder = folder,
      env = { LUA_PATH = HERE .. "/src/runtime/?.lua;;" } }, 20)
    assert.equal(0, code, out .. err)
    assert.matches("4 successes", out, 1, true)
  end)

  it("makes a project that tidemill test passes", function()
    local _, steps = init()
    assert.matches("\n  tidemill test ", steps)
    local code, out, err = program.run({ "test" }, { folder = folder })
    assert.equal(0, code, out .. err)
  end)

  it("makes cases that hold", function()
    init()
    local count = 0
    for line in io.lines(folder .. "/spec/loyalty.cases.jsonl") do
      local case = cjson.decode(line)
      local kit = testing.load(folder .. "/rules/loyalty.lua")
      for _, one in ipairs(case.events or { case }) do kit:event(one.stream, one.event) end
      local effects = {}
      for n, effect in ipairs(kit:effects()) do effects[n] = { stream = effect.stream, event = effect.fields } end
      assert.same(case.effects, effects, case.name)
      for key, state in pairs(case.state.loyalty) do assert.same(state, kit:state("loyalty", key), case.name) end
      count = count + 1
    end
    assert.equal(3, count)
  end)

  it("makes the rule that README.md begins with, with comments", function()
    init()
    local function code_of(text)
      local lines = {}
      for line in text:gmatch "[^\n]+" do
        line = line:gsub("%-%-.*$", ""):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
        if line ~= "" then lines[#lines + 1] = line end
      end
      return lines
    end
    local rule = files.read_file(HERE .. "/README.md"):match "```lua\n(%-%- rules/loyalty%.lua.-)```"
    assert.same(code_of(rule), code_of(files.read_file(folder .. "/rules/loyalty.lua")))
  end)

  it("shows editors the library beside the program", function()
    init()
    local settings = cjson.decode(files.read_file(folder .. "/.luarc.json"))
    assert.equal("LuaJIT", settings["runtime.version"])
    assert.is_true(exists(settings["workspace.library"][1] .. "/tidemill.lua"), settings["workspace.library"][1])
  end)

  it("shows editors the library of an installed program, and tells when there is none", function()
    local tree = folder .. "/usr \"local\""
    files.make_folder(tree)
    for _, name in ipairs { "bin", "share", "share/tidemill", "share/tidemill/library" } do files.make_folder(tree .. "/" .. name) end
    assert.equal(0, os.execute(("cp '%s' '%s/bin/tidemill'"):format(program.path(), tree)))
    local _, out = process.run({ tree .. "/bin/tidemill", "init", "one", folder = folder }, 20)
    assert.is_nil(out:find("No annotations", 1, true))
    local settings = cjson.decode(files.read_file(folder .. "/one/.luarc.json"))
    assert.equal(tree .. "/share/tidemill/library", settings["workspace.library"][1])
    os.remove(tree .. "/share/tidemill/library")
    _, out = process.run({ tree .. "/bin/tidemill", "init", "two", folder = folder }, 20)
    assert.matches("No annotations were found beside the program", out, 1, true)
    assert.equal("", cjson.decode(files.read_file(folder .. "/two/.luarc.json"))["workspace.library"][1])
  end)

  it("makes a project that runs, by the steps that it tells", function()
    local _, steps = init "shop"
    local run = steps:match "\n  (tidemill run [^\n#]+)"
    local export, send, tail = steps:match "\n  (export [^\n]+)\n  (echo [^\n]+)\n  (tidemill tail [^\n]+)\n"
    assert.is_truthy(run and tail, steps)
    local lines = table.concat({
      "cd shop", run .. " >run.log 2>&1 & engine=$!", "trap 'kill $engine' EXIT",
      "i=0; until grep -q acquired run.log; do i=$((i + 1)); [ $i -lt 200 ] || exit 9; sleep 0.05; done",
      export, send, tail .. " --count 1", "trap - EXIT", "kill $engine", "wait $engine",
    }, "\n"):gsub("%f[%w]tidemill ", '"$tidemill" ')
    local code, out, err = program.shell(lines, { folder = folder, env = { XDG_RUNTIME_DIR = folder } }, 40)
    assert.equal(0, code, out .. err)
    local event = cjson.decode(out).event
    assert.same({ user_id = "u1", percent = 5 }, event)
  end)
end)
