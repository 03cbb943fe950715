// The few words that views show. The nodes' own words come from locales/.
import { app } from "../../../scripts/app.js";

const WORDS = {
  en: {
    before: "before",
    after: "after",
    wipe: "Wipe between before and after",
    play: "Play",
    pause: "Pause",
    time: "Time",
    source: "source",
    target: "spoken",
    both: "both",
    shown: "What is shown",
    drag: "drag to turn, wheel to zoom",
    drawing: "video",
    model: "3D",
    frame: "frame",
    strip: "click: exclude · shift-click or P: pin",
    excluded: "excluded",
    pinned: "pinned",
    again: "Takes effect with the next run.",
    restore: "use again",
    share: "share of the mix",
    strength: "strength of the style",
  },
  zh: {
    before: "之前",
    after: "之后",
    wipe: "在之前与之后之间滑动",
    play: "播放",
    pause: "暂停",
    time: "时间",
    source: "原来",
    target: "说话",
    both: "两者",
    shown: "显示内容",
    drag: "拖动旋转，滚轮缩放",
    drawing: "视频",
    model: "三维",
    frame: "帧",
    strip: "点击：排除 · Shift+点击或 P：固定",
    excluded: "已排除",
    pinned: "已固定",
    again: "下次运行时生效。",
    restore: "重新使用",
    share: "混合份额",
    strength: "风格强度",
  },
};

export function word(key) {
  const locale = String(app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en");
  return (WORDS[locale.split("-")[0]] ?? WORDS.en)[key];
}
