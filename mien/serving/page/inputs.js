// The ways in which photos reach the page: choose, drop, paste, a folder, the camera. Each gives files.

/** @typedef {(files: File[]) => void} Take */

/** @param {string} id */
const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {Take} take @param {(message: string) => void} say */
export function listen(take, say) {
  for (const [button, input] of [["choose", "files"], ["choose-folder", "folder"]]) {
    byId(button).onclick = () => byId(input).click();
    byId(input).onchange = () => {
      const files = [...byId(input).files];
      // A folder holds other files too; those that were chosen one by one are all tried.
      take(input === "folder" ? files.filter((file) => file.type.startsWith("image/")) : files);
      byId(input).value = "";
    };
  }
  document.onpaste = ({ clipboardData }) => take([...(clipboardData?.files ?? [])]);
  listenToDrops(take);
  listenToCamera(take, say);
}

/** @param {Take} take */
function listenToDrops(take) {
  const mark = (/** @type {boolean} */ on) => document.body.classList.toggle("dropping", on);
  document.ondragover = (event) => {
    event.preventDefault();
    mark(true);
  };
  document.ondragleave = ({ relatedTarget }) => relatedTarget || mark(false);
  document.ondrop = (event) => {
    event.preventDefault();
    mark(false);
    take([...(event.dataTransfer?.files ?? [])]);
  };
}

/** @param {Take} take @param {(message: string) => void} say */
function listenToCamera(take, say) {
  const [view, video, open] = [byId("camera-view"), byId("video"), byId("camera")];
  let count = 0;
  open.onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
      await video.play();
    } catch {
      say("The camera cannot be used: there is none, or this page may not use it.");
      return;
    }
    view.hidden = false;
    open.hidden = true;
    byId("take").focus();
  };
  byId("camera-off").onclick = () => {
    video.srcObject?.getTracks().forEach((/** @type {MediaStreamTrack} */ track) => track.stop());
    video.srcObject = null;
    view.hidden = true;
    open.hidden = false;
    open.focus();
  };
  byId("take").onclick = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    canvas.toBlob((blob) => blob && take([new File([blob], `camera-${++count}.png`, { type: "image/png" })]), "image/png");
  };
}
