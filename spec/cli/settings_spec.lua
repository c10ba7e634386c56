local files = require "spec.support.files"
local program = require "spec.support.program"

-- The reading itself is in spec/unit/config_spec.lua; here: what a person sees.
describe("settings", function()
  local folder

  before_each(function()
    folder = files.temp_folder()
  end)

  local function tail(arguments, env)
    table.insert(arguments, 1, "tail")
    table.insert(arguments, 2, "s")
    local code, _, err = program.run(arguments, { folder = folder, env = env })
    return code, err
  end

  local function settings(text, name)
    files.write_file(folder .. "/" .. (name or "tidemill.lua"), text)
  end

  it("of tidemill.lua are met where it lies", function()
    settings 'return { redis = "unix:///nowhere/file.sock" }'
    local code, err = tail {}
    assert.equal(1, code)
    assert.matches("unix:///nowhere/file.sock", err, 1, true)
  end)

  it("are overruled by the environment, and that by flags", function()
    settings 'return { redis = "unix:///nowhere/file.sock" }'
    local env = { REDIS_URL = "unix:///nowhere/environment.sock" }
    local _, err = tail({}, env)
    assert.matches("environment.sock", err, 1, true)
    _, err = tail({ "--redis", "unix:///nowhere/flag.sock" }, env)
    assert.matches("flag.sock", err, 1, true)
    _, err = tail({}, { REDIS_URL = "" })
    assert.matches("file.sock", err, 1, true)
  end)

  it("come from the file that --config or TIDEMILL_CONFIG names", function()
    settings('return { redis = "unix:///nowhere/a.sock" }', "a.lua")
    settings('return { redis = "unix:///nowhere/b.sock" }', "b.lua")
    local _, err = tail({}, { TIDEMILL_CONFIG = "a.lua" })
    assert.matches("a.sock", err, 1, true)
    _, err = tail({ "--config", "b.lua" }, { TIDEMILL_CONFIG = "a.lua" })
    assert.matches("b.sock", err, 1, true)
    local code
    code, err = tail { "--config", "none.lua" }
    assert.equal(1, code)
    assert.equal("tidemill: cannot read the settings file none.lua: No such file or directory\n",
      err)
    code, err = tail { "--config", "." }
    assert.equal(1, code)
    assert.equal("tidemill: cannot read the settings file .: Is a directory\n", err)
  end)

  it("that are wrong end every command with file, line and the nearest name", function()
    for text, want in pairs {
      ["return {\n  gruop = 'x',\n}"] =
        "tidemill: tidemill.lua:2: gruop is no setting; did you mean group?\n",
      ["return {\n  limits = {\n    state_kb = '64',\n  },\n}"] =
        "tidemill: tidemill.lua:3: limits.state_kb must be a number, not a string\n",
      ["return { lease_ms = 1000 }"] =
        "tidemill: tidemill.lua: lease_ms is 1000, but must be at least 3 times limits.hard_ms",
      ["return {"] = "tidemill: tidemill.lua:1: ",
      ["return { group = os.getenv('X') }"] = "tidemill: tidemill.lua:1: there is no variable os",
    } do
      settings(text)
      local code, err = tail {}
      assert.equal(2, code)
      assert.is_truthy(err:find(want, 1, true) == 1, err)
    end
  end)

  it("that loop for ever are given up", function()
    settings "local s = 'x' while true do s = s == 'x' and 'y' or 'x' end"
    local code, err = tail {}
    assert.equal(2, code)
    assert.matches("tidemill.lua:1: takes too long", err, 1, true)
  end)

  it("in the environment are named when they are wrong", function()
    local code, err = tail({}, { TIDEMILL_LOG_LEVEL = "loud" })
    assert.equal(2, code)
    assert.equal(
      "tidemill: the environment's TIDEMILL_LOG_LEVEL must be debug, info, warn or error, "
      .. 'not "loud"\n', err)
    -- Those of other commands are not looked at.
    code = tail({}, { TIDEMILL_FROM = "nonsense", REDIS_URL = "unix:///nowhere/x" })
    assert.equal(1, code)
  end)
end)
