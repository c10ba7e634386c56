-- The settings file and the rules of examples/, as the engine itself reads them.
local process = require "spec.support.process"

describe("examples/", function()
  it("is accepted by tidemill check", function()
    local code, out, err = process.run({ "build/" .. (os.getenv "VARIANT" or "release") .. "/tidemill", "check",
      "--config", "examples/tidemill.lua" }, 30)
    assert.same({ 0, "", "" }, { code, out, err })
  end)

  it("has rules of time without mistakes", function()
    local code, out, err = process.run({ "build/" .. (os.getenv "VARIANT" or "release") .. "/tidemill", "check",
      "examples/time" }, 30)
    assert.same({ 0, "", "" }, { code, out, err })
  end)

  it("fits a screen each, and says in its first line what it is for", function()
    local paths = { "tidemill.lua" }
    local listing = select(2, process.run({ "sh", "-c", "cd examples && ls */*.lua" }, 10))
    for path in listing:gmatch "[^\n]+" do paths[#paths + 1] = path end
    assert.is_true(#paths >= 12)
    for _, path in ipairs(paths) do
      local lines, first = 0, nil
      for line in io.lines("examples/" .. path) do
        first = first or line
        lines = lines + 1
      end
      assert.is_true(lines <= 50, path .. " has " .. lines .. " lines")
      assert.equal("-- " .. path:match "[^/]+$" .. ":", first:match "^%-%- [%w.]+:", path)
    end
  end)
end)
