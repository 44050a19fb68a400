"""Detection and segmentation on a trunk: scenes, torchvision's Mask R-CNN, COCO's metrics."""
