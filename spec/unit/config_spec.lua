local ffi = require "ffi"
local header = require "spec.support.header"
ffi.cdef "typedef unsigned int uid_t;"
local C = header.load("src/config/config.h", "src/config/settings.h", "src/config/locate.h",
  "src/config/runtime_dir.h",
  "src/base/log.h")
ffi.cdef [[
  int setenv(const char *, const char *, int);
  int unsetenv(const char *);
  int chdir(const char *);
]]

local folder = os.tmpname()
os.remove(folder)
os.execute("mkdir -p " .. folder)
local here = io.popen("pwd"):read("*l")

-- Evaluates settings text over an empty config; returns it, or nil and the sentence.
local function settings(source, file)
  local config, why = ffi.gc(ffi.new("struct config"), C.config_fini), ffi.new("struct error")
  if C.settings_read(file or "tidemill.lua", source, #source, config, why) ~= 0 then
    return nil, ffi.string(why.text)
  end
  return config
end

local function refused(source)
  local config, why = settings(source)
  assert.is_nil(config)
  return why
end

local keep = {} -- argv's strings must outlive the config

-- Loads a command line; returns the config and the positional arguments, or nil, the sentence and
-- the code.
local function load(command, ...)
  local words = { ... }
  local argc, argv = ffi.new("int[1]", #words), ffi.new("char *[?]", #words + 1)
  for i, word in ipairs(words) do
    local copy = ffi.new("char[?]", #word + 1, word)
    keep[#keep + 1] = copy
    argv[i - 1] = copy
  end
  local config, why = ffi.gc(ffi.new("struct config"), C.config_fini), ffi.new("struct error")
  if C.config_load(C.command_find(command), argc, argv, config, why) ~= 0 then
    return nil, ffi.string(why.text), tonumber(why.code)
  end
  local left = {}
  for i = 0, argc[0] - 1 do
    left[#left + 1] = ffi.string(argv[i])
  end
  return config, left
end

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  file:write(text)
  file:close()
  return folder .. "/" .. name
end

describe("a settings file", function()
  it("sets everything of the contract", function()
    local config, why = settings([[
      local big = 2 * 1000
      return {
        redis = "redis://10.0.0.5/2", group = "shop", rules = "shop/rules", from = "start",
        partition = "stream",
        streams = { orders = { codec = "msgpack" }, ["web:clicks"] = { codec = "json" }, raw = {} },
        outputs = { offers = { maxlen = 100000, codec = "json" }, notes = { maxlen = 5 } },
        limits = { rule_ms = 60, hard_ms = "2s", load_ms = 5000, vm_mb = 256, effects = 10,
          effect_kb = 11, event_kb = 12, event_depth = 13, event_elements = 140, state_kb = 15 },
        batch_events = big, batch_ms = 25, lease_ms = 9000, dlq_maxlen = 100, future = "2h",
        state_cache_mb = 32, allow_eviction = true, log_level = "debug", log_format = "json",
        record = 0.125, record_maxlen = 5000,
        control = "/run/x.sock", http = "off", workers = 1, embedded = "data",
      }]])
    assert.is_truthy(config, why)
    assert.equal("redis://10.0.0.5/2", ffi.string(config.redis))
    assert.equal("shop", ffi.string(config.group))
    assert.equal(1, config.partition)
    assert.equal(2000, tonumber(config.batch_events))
    assert.equal(60, tonumber(config.limits.rule_ms))
    assert.equal(2000, tonumber(config.limits.hard_ms))
    assert.equal(140, tonumber(config.limits.event_elements))
    assert.equal(7200000, tonumber(config.future_ms))
    assert.same({ 0.125, 5000 }, { config.record, tonumber(config.record_maxlen) })
    assert.is_true(config.allow_eviction)
    assert.equal(C.LOG_DEBUG, config.log_level)
    assert.equal(C.LOG_JSON, config.log_format)
    assert.equal(3, tonumber(config.stream_count))
    assert.equal(C.CODEC_JSON, C.config_stream_codec(config, "web:clicks", 10))
    assert.equal(C.CODEC_MSGPACK, C.config_stream_codec(config, "orders!", 6))
    assert.equal(C.CODEC_AUTO, C.config_stream_codec(config, "raw", 3))
    assert.equal(C.CODEC_AUTO, C.config_stream_codec(config, "other", 5))
    assert.equal(100000, tonumber(C.config_output_of(config, "offers", 6).maxlen))
    assert.equal(C.CODEC_MSGPACK, C.config_output_of(config, "notes", 5).codec)
    assert.is_true(C.config_output_of(config, "x", 1) == nil)
    assert.equal(C.ORIGIN_FILE, C.config_origin_of(config, "batch_ms"))
  end)

  it("keeps many streams apart", function()
    local lines = {}
    for i = 1, 100 do
      lines[i] = ("s%d = { codec = %q }"):format(i, i % 2 == 0 and "json" or "fields")
    end
    local config = settings("return { streams = {" .. table.concat(lines, ",\n") .. "} }")
    assert.equal(100, tonumber(config.stream_count))
    for i = 1, 100 do
      assert.equal(i % 2 == 0 and C.CODEC_JSON or C.CODEC_FIELDS,
        C.config_stream_codec(config, "s" .. i, #("s" .. i)))
    end
  end)

  it("takes paths from its own folder", function()
    assert.equal("/etc/tm/rules", ffi.string(
      settings('return { rules = "rules" }', "/etc/tm/tidemill.lua").rules))
    assert.equal("/srv/rules", ffi.string(settings('return { rules = "/srv/rules" }',
      "/etc/tm/tidemill.lua").rules))
    assert.equal("rules", ffi.string(settings('return { rules = "rules" }').rules))
  end)

  it("that is wrong is refused with file, line and the nearest name", function()
    for source, want in pairs({
      ["return {\n  gruop = 'x',\n}"] = "tidemill.lua:2: gruop is no setting; did you mean group?",
      ["return {\n  limits = {\n    rule_mss = 5 } }"] =
        "tidemill.lua:3: limits.rule_mss is no setting; did you mean rule_ms?",
      ["return {\n  rule_ms = 5 }"] =
        "tidemill.lua:2: rule_ms is no setting here; did you mean limits.rule_ms?",
      ["return {\n\n frobnicate = 5 }"] = "tidemill.lua:3: frobnicate is no setting",
      ["return { batch_ms = true }"] =
        "tidemill.lua:1: batch_ms must be a number of ms or a text such as \"10s\", not",
      ["return { group = 5 }"] = "tidemill.lua:1: group must be a string, not a number",
      ["return { batch_events = '5' }"] =
        "tidemill.lua:1: batch_events must be a number, not a string",
      ["return { batch_events = 1.5 }"] =
        "tidemill.lua:1: batch_events must be a whole number (1 to 100000), not \"1.5\"",
      ["return { batch_events = 0/0 }"] = "tidemill.lua:1: batch_events must be a whole number",
      ["return { batch_events = 1/0 }"] = "tidemill.lua:1: batch_events must be a whole number",
      ["return { batch_events = 5LL }"] =
        "tidemill.lua:1: batch_events must be a number, not something else",
      ["return { limits = 5 }"] = "tidemill.lua:1: limits must be a table { ... }, not a number",
      ["return { limits = {\n 5 } }"] = "tidemill.lua:1: limits must be { NAME = VALUE, ... }",
      ["return { streams = { 'orders' } }"] =
        "tidemill.lua:1: streams must be { NAME = VALUE, ... }",
      ["return { streams = { orders = 'json' } }"] =
        "tidemill.lua:1: streams.orders must be a table { ... }, not a string",
      ["return { streams = { orders = {\ncodek = 'json' } } }"] =
        "tidemill.lua:2: streams.orders.codek is no setting; did you mean codec?",
      ["return { streams = { orders = {\n\ncodec = 'xml' } } }"] =
        "tidemill.lua:3: streams.orders.codec must be auto, msgpack, json or fields, not \"xml\"",
      ["return { outputs = { o = { codec = 'fields' } } }"] =
        "tidemill.lua:1: outputs.o.codec must be msgpack or json, not \"fields\"",
      ["return { group = { a = {} } }"] = "tidemill.lua:1: group must be a string, not a table",
      ["return { group = 'a\\0b' }"] =
        "tidemill.lua:1: group must be a string, not one with a NUL byte",
      ["return { 'x' }"] = "tidemill.lua:1: settings are NAME = VALUE",
      ["\n\nreturn 5"] = "tidemill.lua:3: must return a table: return { group = \"shop\", ... }",
      [""] = "tidemill.lua:1: must return a table",
      ["return {\n group == 5 }"] = "tidemill.lua:2: there is no variable group: settings are data",
      ["return {\n group = }"] = "tidemill.lua:2: unexpected symbol near '}'",
      ["group = 'shop'"] =
        "tidemill.lua:1: group is assigned to a global: settings stand in return { group = ... }",
      ["return { redis = os.getenv('X') }"] =
        "tidemill.lua:1: there is no variable os: settings are data",
      ["local s = 'x'\nreturn { group = s:rep(5) }"] = "tidemill.lua:2: attempt to",
      ["while true do end"] = "tidemill.lua:1: takes too long: settings are data, not a program",
      ["local s = 'xxxxxxxx' while true do s = s .. s end"] = "tidemill.lua: needs more than 16 MB",
      ["local t = {} local i = 1 while true do t[i] = {} i = i + 1 end"] = "tidemill.lua:",
      ["\27LJ\2"] = "tidemill.lua: is bytecode, but settings must be text",
    }) do
      local why = refused(source)
      assert.is_true(why:find(want, 1, true) == 1, why)
    end
  end)

  it("cannot hang by joining long strings", function()
    local started = os.clock()
    refused [[
      local s = 'x'
      for i = 1, 21 do s = s .. s end
      while true do local t = s .. 'x' .. s end]]
    assert.is_true(os.clock() - started < 5)
  end)

  it("names the first mistake of the file", function()
    for _ = 1, 5 do
      assert.matches("tidemill.lua:2: aaa", refused(
        "return {\n aaa = 1,\n bbb = 2,\n ccc = 3,\n limits = { ddd = 4 } }"))
    end
  end)
end)

describe("the place of a mistake", function()
  -- The word that the caret stands under, and its line.
  local function pointed(source)
    local config, why = ffi.gc(ffi.new("struct config"), C.config_fini), ffi.new("struct error")
    assert.not_equal(0, C.settings_read("f.lua", source, #source, config, why))
    local m = config.mistake
    assert.equal(("f.lua:%d: %s"):format(m.line, ffi.string(m.sentence)), ffi.string(why.text))
    local text = ffi.string(m.text)
    return m.column > 0 and text:sub(m.column, m.column + m.width - 1) or nil, m.line, m.column
  end

  it("is the setting, the word that Lua gave up at, or the global", function()
    for source, want in pairs {
      ["return {\r\n\tgruop = 1,\r\n}"] = { "gruop", 2, 2 },
      ["return { limits = { ['rule_mss'] = 1 } }"] = { "rule_mss", 1, 23 },
      ["return { group = = 5 }"] = { "=", 1, 18 },
      ["local endless = 1 end"] = { "end", 1, 19 },
      ["return { group = os.x }"] = { "os", 1, 18 },
      ["groups = 'groups'"] = { "groups", 1, 1 },
      ["\n return 5"] = { "return", 2, 2 },
      ["return {"] = { nil, 1, 0 },
    } do
      assert.same(want, { pointed(source) }, source)
    end
  end)

  it("is unknown where the error has none", function()
    local config, why = ffi.gc(ffi.new("struct config"), C.config_fini), ffi.new("struct error")
    assert.not_equal(0, C.settings_read("f.lua", "error", 5, config, why))
    config, why = ffi.gc(ffi.new("struct config"), C.config_fini), ffi.new("struct error")
    local source = "\27LJ"
    assert.not_equal(0, C.settings_read("f.lua", source, #source, config, why))
    assert.is_true(config.mistake.file == nil)
  end)
end)

describe("the line of a setting", function()
  local function line(source, ...)
    local path = { ... }
    local at = C.locate(source, #source, ffi.new("const char *[?]", #path, path), #path)
    return at.line, at.column, at.width
  end

  local source = [==[
-- group = "comment"
--[[ limits = { rule_ms = 1 }
]] local text = "group = 1, { limits = {"
local long = [=[ group = {
]=]
local outputs = {
  offers = { maxlen = 5 },
}
return {
  redis = "a{b", group = 'it''s',
  ["from"] = "end",
  limits
    =
  { rule_ms = 5; state_kb = { },
    [ "hard_ms" ] = 7, },
  streams = { a = { codec = "json" },
    b = {
      codec = "json",
    }, ["c d"] = { codec
        = "x" } }, outputs = outputs,
  batch_ms = 3 == 4 and 5 or 6,
}
]==]

  it("is found in ordinary layouts", function()
    assert.equal(10, line(source, "redis"))
    assert.equal(10, line(source, "group"))
    assert.equal(11, line(source, "from"))
    assert.equal(12, line(source, "limits"))
    assert.equal(14, line(source, "limits", "rule_ms"))
    assert.equal(14, line(source, "limits", "state_kb"))
    assert.equal(15, line(source, "limits", "hard_ms"))
    assert.equal(16, line(source, "streams", "a", "codec"))
    assert.equal(18, line(source, "streams", "b", "codec"))
    assert.equal(19, line(source, "streams", "c d", "codec"))
    assert.equal(7, line(source, "outputs", "offers", "maxlen"))
    assert.equal(21, line(source, "batch_ms"))
  end)

  it("is that of what is around it when it is made otherwise", function()
    assert.equal(12, line(source, "limits", "made"))
    assert.equal(9, line(source, "nothing"))
    assert.equal(1, line("", "x"))
    assert.equal(1, line("{{{{{{{{{{{{{{{{{{{{{{{{ x = 1 }}} [[ 'unfinished", "a", "b"))
  end)
end)

describe("a command line", function()
  setup(function()
    for _, name in ipairs({ "REDIS_URL", "TIDEMILL_GROUP", "TIDEMILL_RULES", "TIDEMILL_CONFIG",
      "XDG_RUNTIME_DIR" }) do
      ffi.C.unsetenv(name)
    end
    ffi.C.chdir(folder)
  end)

  teardown(function()
    ffi.C.chdir(here)
    os.execute("rm -r " .. folder)
  end)

  it("gives defaults", function()
    local config, left = load("run")
    assert.same({}, left)
    assert.equal("redis://127.0.0.1:6379", ffi.string(config.redis))
    assert.equal("end", ffi.string(config.from))
    assert.equal(3600000, tonumber(config.future_ms))
    assert.equal(65536, tonumber(config.limits.event_elements))
    assert.equal(C.ORIGIN_DEFAULT, C.config_origin_of(config, "redis"))
    assert.is_true(config.file == nil)
    assert.equal(0, tonumber(load("tail", "s").count))
    assert.equal(100, tonumber(load("dlq", "list").count))
  end)

  it("mixes flags and arguments", function()
    local config, left = load("send", "orders", "--maxlen=5", "--strict", "-", "--codec", "json")
    assert.same({ "orders", "-" }, left)
    assert.equal(5, tonumber(config.send.maxlen))
    assert.is_true(config.send.is_strict)
    assert.equal(C.CODEC_JSON, config.send.codec)
    config, left = load("state", "get", "--", "rule", "--key")
    assert.same({ "get", "rule", "--key" }, left)
    assert.is_truthy(config)
    left = select(2, load("state", "set", "rule", "-5", "{}"))
    assert.same({ "set", "rule", "-5", "{}" }, left)
  end)

  it("that is wrong is refused with the cure", function()
    for _, case in ipairs({
      { { "run", "--gruop", "x" }, "run has no flag --gruop; did you mean --group?" },
      { { "run", "--frobnicate" }, "run has no flag --frobnicate; see tidemill run --help" },
      { { "run", "--batch_ms", "5" },
        "--batch_ms is no flag but a setting: batch_ms = ... in tidemill.lua" },
      { { "run", "extra" }, 'run does not know what to do with "extra"; see tidemill run --help' },
      { { "run", "--group" }, "--group needs a value: --group NAME" },
      { { "run", "--group", "a/b" }, "--group must be 1 to 64" },
      { { "tail", "s", "--strict" }, "tail has no flag --strict" },
      { { "send" }, "send needs more: tidemill send STREAM [FILE] [OPTIONS]" },
      { { "run", "--from=now" }, "--from must be start, end or an entry ID" },
    }) do
      local config, why, code = load(unpack(case[1]))
      assert.is_nil(config)
      assert.equal(C.ERROR_USAGE, code)
      assert.is_true(why:find(case[2], 1, true) == 1, why)
    end
  end)

  it("wins over the environment, which wins over the file", function()
    local file = write("a.lua", 'return { group = "file", redis = "redis://file", rules = "file" }')
    ffi.C.setenv("TIDEMILL_GROUP", "environment", 1)
    ffi.C.setenv("REDIS_URL", "redis://environment", 1)
    local config = load("run", "--config", file, "--group", "flag")
    ffi.C.unsetenv("TIDEMILL_GROUP")
    ffi.C.unsetenv("REDIS_URL")
    assert.equal("flag", ffi.string(config.group))
    assert.equal("redis://environment", ffi.string(config.redis))
    assert.equal(folder .. "/file", ffi.string(config.rules))
    assert.equal(C.ORIGIN_FLAG, C.config_origin_of(config, "group"))
    assert.equal(C.ORIGIN_ENVIRONMENT, C.config_origin_of(config, "redis"))
    assert.equal(C.ORIGIN_FILE, C.config_origin_of(config, "rules"))
    assert.equal(file, ffi.string(config.file))
  end)

  it("names the variable that is wrong", function()
    ffi.C.setenv("TIDEMILL_GROUP", "a b", 1)
    local _, why = load("run")
    ffi.C.setenv("TIDEMILL_GROUP", "", 1) -- as good as none
    assert.matches("^the environment's TIDEMILL_GROUP must be", why)
    assert.equal("tidemill", ffi.string(load("run").group))
    ffi.C.unsetenv("TIDEMILL_GROUP")
  end)

  it("reads tidemill.lua where it is, and misses a file only when asked for", function()
    write("tidemill.lua", 'return { group = "here" }')
    assert.equal("here", ffi.string(load("run").group))
    os.remove(folder .. "/tidemill.lua")
    local config, why, code = load("run", "--config", "none.lua")
    assert.is_nil(config)
    assert.equal("cannot read the settings file none.lua: No such file or directory", why)
    assert.equal(C.ERROR_SYSTEM, code)
  end)

  it("holds the lease against the hard limit", function()
    local file = write("b.lua", "return { lease_ms = 2000 }")
    local _, why, code = load("run", "--config", file)
    assert.equal(C.ERROR_USAGE, code)
    assert.matches("lease_ms is 2000, but must be at least 3 times limits.hard_ms %(1000%): 3000",
      why)
    assert.is_truthy(load("run", "--config", write("b.lua",
      "return { lease_ms = 2000, limits = { hard_ms = 600 } }")))
  end)

  it("accepts what later versions do only as far as this one does it", function()
    assert.is_truthy(load("run", "--http", "off"))
    local _, why, code = load("run", "--http", "127.0.0.1:9464")
    assert.equal(C.ERROR_SYSTEM, code)
    assert.equal(
      "http is 127.0.0.1:9464, but this version does not serve HTTP; leave it out or say off", why)
  end)

  it("takes a number of workers, or none", function()
    assert.equal(0, tonumber(load("run").workers))
    assert.equal(4, tonumber(load("run", "--workers", "4").workers))
    assert.equal(3, tonumber(load("run", "--config", write("c.lua", "return { workers = 3 }")).workers))
    local _, _, code = load("run", "--workers", "0")
    assert.equal(C.ERROR_USAGE, code)
  end)

  it("asks for help whatever else is wrong", function()
    write("tidemill.lua", "return 5")
    assert.is_true(load("send", "--help").wants_help)
    assert.is_true(load("send", "-h").wants_help)
    assert.is_true(load("run", "--version").wants_version)
    os.remove(folder .. "/tidemill.lua")
  end)

  it("puts the control socket into the runtime directory", function()
    local path = ffi.new("char[300]")
    assert.is_true(C.runtime_dir_socket(0, "/run/user/7", 7, "shop", path, 300))
    assert.equal("/run/user/7/tidemill/shop.sock", ffi.string(path))
    assert.is_false(C.runtime_dir_socket(0, nil, 7, "shop", path, 300))
    assert.is_false(C.runtime_dir_socket(1, nil, 123456789, "shop", path, 300))
    C.runtime_dir_choose(nil, 123456789, "shop", true, path, 300)
    assert.equal("/tmp/tidemill-123456789/shop.sock", ffi.string(path))
    ffi.C.setenv("XDG_RUNTIME_DIR", folder, 1)
    assert.equal(folder .. "/tidemill/tidemill.sock", ffi.string(load("run").control))
    ffi.C.unsetenv("XDG_RUNTIME_DIR")
    assert.equal("/x.sock", ffi.string(load("run", "--control", "/x.sock").control))
  end)

  it("prepares a folder that others cannot write to", function()
    local why = ffi.new("struct error")
    local function mode(name)
      return io.popen("stat -c %a " .. folder .. "/" .. name):read("*l")
    end
    assert.equal(0, C.runtime_dir_prepare(folder .. "/new/x.sock", why))
    assert.equal("700", mode("new"))
    assert.equal(0, C.runtime_dir_prepare(folder .. "/new/x.sock", why))
    os.execute("chmod 755 " .. folder .. "/new")
    assert.equal(0, C.runtime_dir_prepare(folder .. "/new/x.sock", why))
    os.execute("chmod 775 " .. folder .. "/new")
    assert.is_true(C.runtime_dir_prepare(folder .. "/new/x.sock", why) ~= 0)
    assert.matches("may be written by others", ffi.string(why.text))
    assert.is_true(C.runtime_dir_prepare("/tmp/" .. ("x"):rep(200) .. "/x.sock", why) ~= 0)
    assert.matches("longer than 107 bytes", ffi.string(why.text))
  end)
end)
